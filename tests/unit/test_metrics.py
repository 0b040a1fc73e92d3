"""Every metric has a unit and a meaning, and the page that lists them is the list in the code."""

from pathlib import Path

import pytest

from ndm.tracking import metrics

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_the_page_is_the_list_in_the_code() -> None:
    text = PAGE.read_text()
    assert metrics.table() in text
    assert metrics.HOW in text
    assert metrics.WORDS in text


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("test/bpd_elbo_cont_k64", "test/bpd_ESTIMATORWEIGHTS"),
        ("test/bpd_elbo_cont_k64_se", "test/bpd_ESTIMATORWEIGHTS"),
        ("validation/bpd_elbo_T1000_k64_at_12800_se", "SPLIT/bpd_ESTIMATORWEIGHTS"),
        ("test/bpd_elbo_cont_k64_adaptive_ema0.080_prior", "SPLIT/bpd_ESTIMATORWEIGHTS_TERM"),
        ("test/bpd_ode_point_exact_solver_error", "SPLIT/bpd_ESTIMATORWEIGHTS_solver_error"),
        ("test/bpd_gap_elbo_cont_k64_over_ode_tn_k1_h1_se", "SPLIT/bpd_gap_BOUND_over_ODEWEIGHTS"),
        ("samples/heun_nfe40_n1000_ema0.080_train1437/fid_random", "samples/DRAWN/fid_FEATURES"),
        ("train/prior", "train/TERM"),
        ("time/backward_ms", "time/LAP_ms"),
        ("time/step_ms", "time/step_ms"),
        ("search/best_bits_per_dim_se", "search/best_bits_per_dim"),
    ],
)
def test_a_recorded_name_is_found(key: str, name: str) -> None:
    found = metrics.find(key)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "key", ["train/bits", "test/bpd_elbo", "time/coffee_ms", "train/examples_checksum_se", "test/bpd_elbo_T10_nfe_se"]
)
def test_what_is_not_listed_is_not_found(key: str) -> None:
    assert metrics.find(key) is None


def test_the_description_of_an_experiment_fits_mlflow() -> None:
    """Its limit for a tag of an experiment is 20,000 characters on a server, 5,000 in older databases."""
    assert len(metrics.description()) < 5000
