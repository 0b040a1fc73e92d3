"""The report on sample quality, its extractors, and the sentences for what cannot be done."""

import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file

from ndm.errors import UserError
from ndm.quality.extractors import NAMES, extractor
from ndm.quality.features import features
from ndm.quality.frechet import frechet
from ndm.quality.inception import as_bytes, read_tensors
from ndm.quality.precision_recall import precision_recall
from ndm.quality.report import quality
from ndm.quality.subsets import shuffled, subset

SHAPE = (1, 8, 8)
LEVELS = 17


def images(count, seed, brightest=LEVELS):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(brightest, (count, *SHAPE), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", ["pixels", "random"])
def test_the_report_tells_a_good_model_from_a_bad_one(name):
    reference = images(90, 0)
    good, bad = (
        quality(sample, reference, extractor=extractor(name, SHAPE, LEVELS), seed=3)
        for sample in (images(60, 1), images(60, 2, brightest=9))
    )
    assert set(good) == {
        "samples",
        "reference",
        "sliced_wasserstein_pixels",
        "sliced_wasserstein_floor_pixels",
        "mmd_squared_pixels",
        *(f"{metric}_{name}" for metric in ("fid", "kid", "precision", "recall")),
    }
    assert (good["samples"], good["reference"]) == ((60, 0), (90, 0))
    assert good["sliced_wasserstein_pixels"].value < 1.3 * good["sliced_wasserstein_floor_pixels"].value
    assert bad["sliced_wasserstein_pixels"].value > 2 * bad["sliced_wasserstein_floor_pixels"].value
    assert abs(good["mmd_squared_pixels"].value) < 4 * good["mmd_squared_pixels"].error
    for metric in ("mmd_squared_pixels", f"kid_{name}", f"fid_{name}"):
        assert bad[metric].value > good[metric].value + 4 * good[metric].error
    f, g = (features(extractor(name, SHAPE, LEVELS), raw, batch=60, device="cpu") for raw in (images(60, 1), reference))
    assert good[f"fid_{name}"].value == pytest.approx(frechet(f, g).value, rel=1e-4)
    assert good[f"precision_{name}"] == pytest.approx(precision_recall(f, g).precision)
    assert good[f"recall_{name}"] == pytest.approx(precision_recall(f, g).recall)


def test_the_report_does_not_depend_on_batches_and_is_the_same_each_time():
    first, second = (
        quality(images(40, 0), images(50, 1), extractor=extractor("random", SHAPE, LEVELS), seed=5, batch=batch)
        for batch in (7, 256)
    )
    for metric, (value, error) in first.items():
        assert second[metric].value == pytest.approx(value, rel=1e-4, abs=1e-6)
        assert second[metric].error == pytest.approx(error, rel=1e-3, abs=1e-6)


def test_points_of_the_plane_are_compared_too():
    reference, samples = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0))
    found = quality(samples, reference, extractor=extractor("pixels", (2,), 0), seed=0)
    assert found["fid_pixels"].value < 0.5
    shifted = quality(samples + 10, reference, extractor=extractor("pixels", (2,), 0), seed=0)
    assert shifted["fid_pixels"].value == pytest.approx(200, rel=0.1)
    assert shifted["precision_pixels"].value < 0.1 < 0.9 < found["precision_pixels"].value


def test_random_features_belong_to_their_seed():
    raw = images(5, 0)
    first, again, other = (
        features(extractor("random", SHAPE, LEVELS, seed=seed), raw, batch=2, device="cpu") for seed in (0, 0, 1)
    )
    assert first.shape == (5, 256)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_pixels_are_the_data_in_model_space():
    raw = images(4, 0)
    found = features(extractor("pixels", SHAPE, LEVELS), raw, batch=3, device="cpu")
    torch.testing.assert_close(found, ((2 * raw.float() + 1) / LEVELS - 1).flatten(1))


def test_a_subset_is_chosen_at_random_and_without_repetition():
    x = torch.arange(1000.0)
    chosen = subset(x, 300, 0, "test")
    assert len(set(chosen.tolist())) == 300
    assert abs(chosen.mean().item() - 500) < 80
    assert torch.equal(chosen, subset(x, 300, 0, "test"))
    assert subset(x, 1000, 0, "test") is x
    assert torch.equal(shuffled(9, 1, "a").sort().values, torch.arange(9))


@pytest.mark.parametrize(
    ("samples", "reference", "sentence"),
    [
        (images(29, 0), images(40, 1), "at least 30 samples, not 29"),
        (images(40, 0), images(29, 1), "at least 30 reference"),
        (images(40, 0), torch.zeros(40, 1, 4, 4), "shape .1, 8, 8. and the reference .1, 4, 4."),
        (torch.full((40, *SHAPE), torch.nan), images(40, 1), "samples hold values that are not finite"),
        (images(40, 0), torch.zeros(40, *SHAPE, dtype=torch.uint8), "Every image of the reference is the same"),
    ],
)
def test_what_cannot_be_compared_is_refused(samples, reference, sentence):
    with pytest.raises(UserError, match=sentence):
        quality(samples, reference, extractor=extractor("pixels", SHAPE, LEVELS), seed=0)


def test_unknown_extractors_and_unfit_data_are_refused():
    with pytest.raises(UserError, match=f"'vgg'; choose one of {', '.join(NAMES)}"):
        extractor("vgg", SHAPE, LEVELS)
    with pytest.raises(UserError, match=r"random takes images .* use pixels"):
        extractor("random", (2,), 0)
    for shape, levels in (((2,), 0), ((4, 8, 8), 256), (SHAPE, 0)):
        with pytest.raises(UserError, match="inception takes images of integer levels"):
            extractor("inception", shape, levels)


def test_without_the_package_one_sentence_says_how_to_get_package_and_weights(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UserError, match=r"pip install torch-fidelity, .* curl -LO https://.*\.pth, and give") as caught:
        extractor("inception", SHAPE, LEVELS)
    assert "\n" not in str(caught.value)


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemError('the file was run')",)


def test_a_weights_file_that_runs_code_is_not_read(tmp_path):
    harmful, legacy = tmp_path / "harmful.pth", tmp_path / "legacy.pth"
    torch.save({"weight": Trap()}, harmful)
    legacy.write_bytes(pickle.dumps(Trap(), protocol=2))
    for path in (harmful, legacy):
        with pytest.raises(UserError, match=f"{path.name} is damaged or holds more than tensors"):
            read_tensors(path)


def test_tensors_are_read_from_either_format_and_damage_is_told(tmp_path):
    tensors = {"fc.bias": torch.arange(3.0)}
    torch.save(tensors, tmp_path / "a.pth")
    save_file(tensors, tmp_path / "a.safetensors")
    for path in sorted(tmp_path.iterdir()):
        assert torch.equal(read_tensors(path)["fc.bias"], tensors["fc.bias"])
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(UserError, match=f"{path.name} is damaged"):
            read_tensors(path)
        path.write_bytes(b"")
        with pytest.raises(UserError, match=f"{path.name} is damaged"):
            read_tensors(path)


def test_levels_spread_over_the_bytes():
    assert as_bytes(torch.tensor([0, 8, 16]), 17).tolist() == [0, 128, 255]
    assert torch.equal(as_bytes(torch.arange(256), 256), torch.arange(256, dtype=torch.uint8))
    assert as_bytes(torch.tensor([0, 1]), 2).tolist() == [0, 255]
