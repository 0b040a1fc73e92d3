"""Pruners: what is cut and what is not, and that the answer does not know when anything happened."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndm.registry import kinds, variant
from ndm.search.pruners._base import Progress, Standing, kept

IMAGES = 50
NOISE = torch.randn(IMAGES, generator=torch.Generator().manual_seed(0))


def bits(mean: float) -> torch.Tensor:
    """Images that differ among themselves, and between trials by a constant: paired differences without noise."""
    return mean + 0.3 * NOISE


def pruner(kind: str, **values):
    return variant("ndm.search.pruners", kind).Config(kind=kind, **values)


def progress(*rungs: float, failed: bool = False) -> Progress:
    return Progress(tuple(bits(value) for value in rungs), failed)


@pytest.mark.parametrize("kind", kinds("ndm.search.pruners"))
def test_shares_ascend_to_the_whole(kind):
    shares = pruner(kind).shares()
    assert list(shares) == sorted(set(shares))
    assert shares[-1] == 1.0
    assert shares[0] > 0


def test_the_best_go_on_and_what_is_worse_only_within_the_noise():
    reached = {k: bits(value) for k, value in enumerate((2.0, 2.1, 2.2, 2.3))}
    assert [kept(k, reached, 4, 2.0) for k in reached] == [True, False, False, False]
    assert [kept(k, reached, 2, 2.0) for k in reached] == [True, True, False, False]
    # A difference of 0.1 with a standard error of 0.06 is no difference.
    reached[1] = reached[0] + 0.1 + 0.06 * IMAGES**0.5 * NOISE
    error = float((reached[1] - reached[0]).std()) / IMAGES**0.5
    assert float((reached[1] - reached[0]).mean()) < 2 * error
    assert kept(1, reached, 4, 2.0)
    assert not kept(1, reached, 4, 0.5)


def test_a_wide_spread_of_images_hides_no_difference():
    """The images' own spread is common to both and no noise: unpaired, these could not be told apart."""
    reached = {0: bits(2.0), 1: bits(2.01)}
    assert float(bits(0).std()) / IMAGES**0.5 > 0.01
    assert not kept(1, reached, 2, 2.0)


def test_asha_looks_at_the_trials_before_alone():
    asha = pruner("asha", rungs=2, eta=2, margin=0.0)
    trials = [progress(2.0), progress(1.9), progress(2.1), progress(1.8)]
    standings = asha.standings(trials, 4)
    # 0 is the best of one, 1 of two; 2 is the third of three; 3 is among the two best of four.
    assert [s.status for s in standings] == ["ready", "ready", "stopped", "ready"]


def test_asha_waits_for_an_earlier_trial_that_may_still_come_and_for_no_other():
    asha = pruner("asha", rungs=2, eta=2, margin=0.0)
    assert [s.status for s in asha.standings([progress(), progress(1.9), progress()], 3)] == [
        "ready",
        "waiting",
        "ready",
    ]
    failed = asha.standings([progress(failed=True), progress(1.9), progress()], 3)
    assert [s.status for s in failed] == ["failed", "ready", "ready"]


def test_asha_waits_at_a_rung_for_those_that_wait_below_it():
    asha = pruner("asha", rungs=3, eta=2, margin=0.0)
    trials = [progress(), progress(2.0), progress(1.9, 1.8)]
    assert asha.standings(trials, 3)[2] == Standing("waiting", 1)


def test_halving_decides_when_all_have_come():
    halving = pruner("halving", rungs=2, eta=2, margin=0.0)
    trials = [progress(2.0), progress(1.9), progress(2.1)]
    assert {s.status for s in halving.standings(trials, 4)} == {"waiting"}
    decided = halving.standings([*trials, progress(1.8)], 4)
    assert [s.status for s in decided] == ["stopped", "ready", "stopped", "ready"]


def test_the_brackets_of_hyperband_are_as_large_as_by_the_algorithm_and_alike_in_compute():
    hyperband = pruner("hyperband", rungs=5, eta=3)
    assert hyperband.sizes() == [81, 34, 15, 8, 5]  # ceil(B/R eta^s / (s + 1)) with R = 81 and B = 5 R
    # Every rung of a bracket, from its first, takes as much: eta times fewer trials, eta times longer.
    compute = [size * hyperband.shares()[b] * (hyperband.rungs - b) for b, size in enumerate(hyperband.sizes())]
    assert compute == pytest.approx([5.0, 5.04, 5.0, 5.33, 5.0], abs=0.01)


@pytest.mark.parametrize("trials", [7, 16, 143, 1000])
def test_brackets_share_any_number_of_trials_in_the_ratio_of_their_sizes(trials):
    hyperband = pruner("hyperband", rungs=5, eta=3)
    found = [hyperband.bracket(trial) for trial in range(trials)]
    expected = [size / 143 * trials for size in hyperband.sizes()]
    for bracket, share in enumerate(expected):
        assert abs(found.count(bracket) - share) <= math.log2(trials) / 2 + 1


def test_hyperband_compares_within_a_bracket_from_its_rung_on():
    hyperband = pruner("hyperband", rungs=2, eta=2, margin=0.0)
    assert hyperband.sizes() == [2, 2]
    assert [hyperband.bracket(trial) for trial in range(4)] == [0, 1, 0, 1]
    trials = [progress(1.9), progress(9.0), progress(2.0), progress()]
    # 2 is worse than 0, of its bracket; 1, the worst of all, is of the bracket that never cuts.
    assert [s.status for s in hyperband.standings(trials, 4)] == ["ready", "ready", "stopped", "ready"]
    assert [s.status for s in hyperband.standings(trials[:2], 4)] == ["waiting", "ready"]


def test_without_pruning_everything_runs_to_its_end():
    assert [s.status for s in pruner("none").standings([progress(), progress(3.0)], 2)] == ["ready", "finished"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["asha", "halving", "hyperband"]),
    st.lists(st.floats(1.0, 3.0), min_size=3, max_size=9),
    st.randoms(use_true_random=False),
    st.integers(1, 4),
)
def test_the_same_trials_are_cut_in_whatever_order_they_run(kind, finals, order, workers):
    """A simulated search: curves fall to their final value; at most `workers` trials run and end in a random order."""
    rule = pruner(kind, rungs=3, eta=2, margin=1.0)
    curves = [[final + 0.5, final + 0.2 * (i % 2), final] for i, final in enumerate(finals)]

    def simulate(pick) -> list[Standing]:
        reached, running = [0] * len(finals), set[int]()
        for _ in itertools.count():
            standings = rule.standings([progress(*c[:n]) for c, n in zip(curves, reached, strict=True)], len(finals))
            ready = [k for k, s in enumerate(standings) if s.status == "ready" and k not in running]
            while ready and len(running) < workers:
                running.add(ready.pop(pick(len(ready))))
            if not running:
                return standings
            done = sorted(running)[pick(len(running))]
            running.remove(done)
            reached[done] += 1
        raise AssertionError

    alone = simulate(lambda n: 0)
    assert simulate(lambda n: order.randrange(n)) == alone
    assert {s.status for s in alone} <= {"stopped", "finished"}
    assert any(s.status == "finished" for s in alone)
    best = min(range(len(finals)), key=lambda k: finals[k])
    if kind == "halving" and all(curves[best][1] <= curves[k][1] for k in range(len(finals))):
        assert alone[best].status == "finished"
