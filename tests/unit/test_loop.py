"""The training loop on synthetic examples: what is interrupted, split or spread goes the way of the whole.

Over 400 lines: everything here compares trainings of one small setting, which is made once.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from examples import LEVELS, Batch, examples

from ndm import presets
from ndm.build import build_objective, build_state
from ndm.config import Experiment
from ndm.training import checkpoint
from ndm.training.flips import flipped
from ndm.training.loop import Checkpointable, Diverged, Event, Logged, Loop, Sampled, Snapshot, Stopped, checksum
from ndm.training.state import State, Tensors
from ndm.training.step import Slots, noise

SHAPE = (1, 2, 2)
EXAMPLES, BATCH, LOG, CHECKPOINT, VALIDATE = 320, 16, 32, 64, 128
TINY = [
    "network={width: 8, depth: 1}",
    "transform.network.width=8",
    "schedule={kind: learned, width: 4}",
    "sampler.steps=2",
    f"training={{examples: {EXAMPLES}, batch_size: {BATCH}, ema: 0.9}}",
    "optimizer={lr: 1e-2, warmup: 64}",
    f"monitor={{log_every: {LOG}, checkpoint_every: {CHECKPOINT}, validate_every: {VALIDATE}}}",
]
IMAGES = 24


def batches(experiment: Experiment, start: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
    size = experiment.training.batch_size
    for position in range(start, experiment.training.examples, size):
        whole, index = examples("train", position, size, SHAPE), torch.arange(position, position + size)
        own = share(size, rank, world)
        yield Batch(position, whole[own.start : own.stop].clone(), index[own.start : own.stop])


def share(size: int, rank: int, world: int) -> range:
    return range(size * rank // world, size * (rank + 1) // world)


def make(*overrides: str) -> tuple[Experiment, State]:
    experiment = presets.load("digits-tiny", [*TINY, *overrides])
    return experiment, build_state(experiment, build_objective(experiment, SHAPE, LEVELS))


def make_loop(
    experiment: Experiment,
    rank: int = 0,
    world: int = 1,
    stop: Callable[[], bool] = lambda: False,
    flip: bool = False,
) -> Loop:
    first, last = IMAGES * rank // world, IMAGES * (rank + 1) // world
    return Loop(
        training=experiment.training,
        optimizer=experiment.optimizer,
        monitor=experiment.monitor,
        sampler=experiment.sampler.build(None),
        samples=3,
        seed=experiment.seed,
        validation=examples("validation", first, last - first, SHAPE),
        validation_first=first,
        slots=share(experiment.training.batch_size, rank, world),
        microbatch=experiment.scaling.microbatch,
        flip=flip,
        rank=rank,
        world=world,
        should_stop=stop,
    )


def copied(state: State) -> Tensors:
    return {part: {name: tensor.clone() for name, tensor in named.items()} for part, named in state.tensors().items()}


def plain(event: Event) -> object:
    """An event in a form that compares, without the speed."""
    match event:
        case Logged(position, metrics):
            timed = ("train/examples_per_second", "time/")
            return position, {key: value for key, value in metrics.items() if not key.startswith(timed)}
        case Sampled(position, raw):
            return position, raw.tolist()
    return event


def same(first: Tensors, second: Tensors) -> bool:
    """Whether they are equal bit for bit."""
    assert {part: set(named) for part, named in first.items()} == {part: set(named) for part, named in second.items()}
    return all(torch.equal(first[part][name], second[part][name]) for part in first for name in first[part])


@dataclass(frozen=True)
class Whole:
    """A training that was not interrupted: its events, and a copy of the state at every checkpoint."""

    events: list[Event]
    states: dict[int, Tensors]
    end: Tensors


def train(*overrides: str, flip: bool = False) -> Whole:
    experiment, state = make(*overrides)
    events, states = [], {}
    for event in make_loop(experiment, flip=flip).run(state, batches(experiment, 0)):
        events.append(event)
        if isinstance(event, Checkpointable):
            states[event.position] = copied(state)
    return Whole(events, states, copied(state))


@pytest.fixture(scope="module")
def whole() -> Whole:
    return train()


def positions(events: list[Event], kind: type) -> list[int]:
    return [event.position for event in events if isinstance(event, kind)]


def test_events_come_in_their_rhythm_and_at_the_end(whole):
    records = [event for event in whole.events if isinstance(event, Logged)]
    training = [event.position for event in records if "train/bits_per_dim" in event.metrics]
    validation = [event.position for event in records if "validation/bits_per_dim" in event.metrics]
    assert training == list(range(LOG, EXAMPLES + 1, LOG))
    assert validation == positions(whole.events, Sampled) == [128, 256, 320]
    assert positions(whole.events, Checkpointable) == list(range(CHECKPOINT, EXAMPLES + 1, CHECKPOINT))
    assert positions(whole.events, Stopped) == []
    ordered = [event.position for event in whole.events]
    assert ordered == sorted(ordered)


def test_the_terms_add_up_and_the_training_learns(whole):
    logged = [event.metrics for event in whole.events if isinstance(event, Logged)]
    for metrics in logged:
        split = "train" if "train/bits_per_dim" in metrics else "validation"
        parts = [metrics[f"{split}/{term}"] for term in ("prior", "reconstruction", "diffusion")]
        assert metrics[f"{split}/bits_per_dim"] == pytest.approx(sum(parts), rel=1e-12)
    bound = [metrics["validation/bits_per_dim"] for metrics in logged if "validation/bits_per_dim" in metrics]
    assert bound == sorted(bound, reverse=True)


@pytest.mark.parametrize("flip", [False, True])
def test_the_first_record_is_the_mean_over_its_examples_at_the_first_weights(flip):
    """With a rate of learning that changes nothing, the record is the mean of the terms, worked out in one batch."""
    experiment, state = make("optimizer={lr: 1e-30, weight_decay: 0.0}")
    model = state.objective.model
    first = next(make_loop(experiment, flip=flip).run(state, batches(experiment, 0)))
    draws = [noise(experiment.seed, Slots(start, BATCH, 0, BATCH), SHAPE) for start in (0, BATCH)]
    with torch.no_grad():
        raw = examples("train", 0, LOG, SHAPE)
        x = model.decoder.encode(flipped(raw, experiment.seed, Slots(0, LOG, 0, LOG)) if flip else raw)
        terms = state.objective(x, type(draws[0])(*(torch.cat(pair) for pair in zip(*draws, strict=True))))
    expected = terms.total.double().mean().item() / (math.prod(SHAPE) * math.log(2))
    assert isinstance(first, Logged)
    assert first.position == LOG
    assert first.metrics["train/bits_per_dim"] == pytest.approx(expected, rel=1e-6)
    assert first.metrics["train/learning_rate"] == 1e-30 * LOG / 64


@pytest.mark.parametrize("cut", range(CHECKPOINT, EXAMPLES, CHECKPOINT))
def test_going_on_from_any_checkpoint_is_bit_for_bit_the_whole(whole, tmp_path, cut):
    checkpoint.write(tmp_path, cut, whole.states[cut], {}, keep=2)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    experiment, state = make()
    state.load(found.tensors, found.position)
    events = list(make_loop(experiment).run(state, batches(experiment, cut)))
    assert state.position == EXAMPLES
    assert same(state.tensors(), whole.end)
    after = [plain(event) for event in whole.events if event.position > cut]
    assert [plain(event) for event in events] == after


def test_a_training_with_flips_goes_on_as_if_it_had_not_been_interrupted(whole):
    mirrored, cut = train(flip=True), 2 * CHECKPOINT
    assert not same(mirrored.end, whole.end)
    experiment, state = make()
    state.load(mirrored.states[cut], cut)
    events = list(make_loop(experiment, flip=True).run(state, batches(experiment, cut)))
    assert same(state.tensors(), mirrored.end)
    assert [plain(event) for event in events] == [plain(event) for event in mirrored.events if event.position > cut]


def test_images_are_mirrored_in_training_and_not_in_validation():
    still = "optimizer={lr: 1e-30, weight_decay: 0.0}"
    records = [[e.metrics for e in train(still, flip=flip).events if isinstance(e, Logged)] for flip in (False, True)]
    for plain_, mirrored in zip(*records, strict=True):
        if "train/bits_per_dim" in plain_:
            assert plain_["train/bits_per_dim"] != mirrored["train/bits_per_dim"]
            assert plain_["train/examples_checksum"] == mirrored["train/examples_checksum"]
        else:
            assert plain_ == mirrored


def test_the_training_ends_with_the_batch_that_reaches_the_examples():
    experiment, state = make("training.examples=40")
    events = list(make_loop(experiment).run(state, batches(experiment, 0)))
    assert state.position == events[-1].position == 48
    assert positions(events, Checkpointable) == [48]


def test_another_seed_is_another_training(whole):
    assert not same(train("seed=1").end, whole.end)


def test_how_a_training_is_watched_does_not_change_it(whole):
    watched = train("monitor={log_every: 16, validate_every: 48, checkpoint_every: 80, validation_draws: 1}")
    assert positions(watched.events, Checkpointable) == [80, 160, 240, 320]
    assert positions(watched.events, Sampled) == [48, 96, 144, 192, 240, 288, 320]
    assert same(watched.end, whole.end)


def test_more_averages_change_nothing_and_resume_bit_for_bit(whole, tmp_path):
    more = f"monitor.ema_widths=[0.05,0.2] monitor.snapshot_every={2 * LOG}".split()
    unbroken = train(*more)
    assert same({part: unbroken.end[part] for part in whole.end}, whole.end)
    assert unbroken.end.keys() - whole.end.keys() == {"ema_0.050", "ema_0.200"}
    assert positions(unbroken.events, Snapshot) == [64, 128, 192, 256, 320]
    assert [plain(e) for e in unbroken.events if not isinstance(e, Snapshot)] == [plain(e) for e in whole.events]
    for cut in (64, 192):
        checkpoint.write(tmp_path, cut, unbroken.states[cut], {}, keep=None)
        found = checkpoint.read(tmp_path, f"{cut:012d}")
        experiment, state = make(*more)
        state.load(found.tensors, found.position)
        for _ in make_loop(experiment).run(state, batches(experiment, cut)):
            pass
        assert same(state.tensors(), unbroken.end)


def test_a_training_with_dropout_resumes_bit_for_bit(whole):
    unbroken = train("network.dropout=0.25")
    assert not same(unbroken.end, whole.end)
    experiment, state = make("network.dropout=0.25")
    state.load(unbroken.states[192], 192)
    for _ in make_loop(experiment).run(state, batches(experiment, 192)):
        pass
    assert same(state.tensors(), unbroken.end)


def test_a_rhythm_that_is_no_multiple_of_the_batch_resumes_all_the_same():
    rhythm = ["monitor={log_every: 40, validate_every: 80, checkpoint_every: 80}"]
    unbroken = train(*rhythm)
    assert positions(unbroken.events, Checkpointable) == [80, 160, 240, 320]
    logged = [e.position for e in unbroken.events if isinstance(e, Logged) and "train/bits_per_dim" in e.metrics]
    assert logged == [48, 80, 128, 160, 208, 240, 288, 320]  # the first batch that ends at or after each multiple
    experiment, state = make(*rhythm)
    state.load(unbroken.states[160], 160)
    events = list(make_loop(experiment).run(state, batches(experiment, 160)))
    assert [plain(event) for event in events] == [plain(e) for e in unbroken.events if e.position > 160]
    assert same(state.tensors(), unbroken.end)


def test_a_batch_in_parts_has_the_gradient_of_the_whole(whole):
    """Equal up to the order of float32 sums: 20 steps of Adam at 1e-2 leave weights within 3e-5 of each other."""
    for microbatch in (8, 6):
        split = train(f"scaling.microbatch={microbatch}")
        assert not same(split.end, whole.end)  # the order of the sums is another one
        for name, weight in whole.end["model"].items():
            torch.testing.assert_close(split.end["model"][name], weight, rtol=0, atol=3e-5)


def test_a_stop_is_honoured_at_a_log_position_after_the_state_was_offered(whole):
    for calls in (1, 2, 5):
        answers = iter([False] * (calls - 1) + [True])
        experiment, state = make()
        events = list(
            make_loop(experiment, stop=lambda answers=answers: next(answers)).run(state, batches(experiment, 0))
        )
        at = calls * LOG
        assert events[-2:] == [Checkpointable(at), Stopped(at)]
        assert state.position == at
        assert positions(events, Checkpointable) == sorted({*range(CHECKPOINT, at, CHECKPOINT), at})
        before = [plain(event) for event in whole.events if event.position <= at and isinstance(event, Logged)]
        assert [plain(event) for event in events if isinstance(event, Logged)] == before
        rest = list(make_loop(experiment).run(state, batches(experiment, at)))
        assert same(state.tensors(), whole.end)
        assert [plain(e) for e in rest] == [plain(e) for e in whole.events if e.position > at]


def test_nobody_is_asked_to_stop_at_the_end():
    asked = []
    experiment, state = make()
    events = list(
        make_loop(experiment, stop=lambda: bool(asked.append(state.position))).run(state, batches(experiment, 0))
    )
    assert asked == list(range(LOG, EXAMPLES, LOG))
    assert positions(events, Stopped) == []


@pytest.mark.parametrize(("poison", "at"), [("nan", 208), ("large", 48)])
def test_a_loss_that_is_no_number_or_too_large_stops_at_the_record_and_names_the_batch(poison, at):
    experiment, _ = make("monitor.largest=1e5")
    state = build_state(experiment, build_objective(experiment, SHAPE, 0))  # of real numbers: one may be anything

    def poisoned() -> Iterator[Batch]:
        for batch in batches(experiment, 0):
            raw = batch.raw.float() / LEVELS
            if batch.position == at:
                raw[3, 0, 1, 1] = math.nan if poison == "nan" else 1e6
            yield Batch(batch.position, raw, batch.index)

    events: list[Event] = []
    with pytest.raises(Diverged) as diverged:
        events.extend(make_loop(experiment).run(state, poisoned()))
    assert diverged.value.position == at
    assert not diverged.value.bits <= 1e5
    logged = [e.position for e in events if isinstance(e, Logged) and "train/bits_per_dim" in e.metrics]
    assert logged == list(range(LOG, at + 1, LOG))
    assert max(positions(events, Checkpointable), default=0) == at // CHECKPOINT * CHECKPOINT


def test_the_time_of_a_step_is_told_by_its_parts(whole):
    records = [e.metrics for e in whole.events if isinstance(e, Logged) and "train/bits_per_dim" in e.metrics]
    parts = ("data", "forward", "backward", "optimizer", "average")
    for metrics in records:
        spent = [metrics[f"time/{part}_ms"] for part in parts]
        assert min(spent) > 0
        assert sum(spent) < metrics["time/step_ms"] * 1.01
    assert "time/checkpoint_ms" in records[2]
    assert "time/validation_ms" in records[4]


def test_the_consumer_has_the_state_to_itself_while_an_event_is_handled():
    experiment, state = make()
    for event in make_loop(experiment).run(state, batches(experiment, 0)):
        assert event.position == state.position


def test_validation_has_common_random_numbers():
    """Equal weights have equal validation records and samples, anywhere and, but for rounding, in any batches."""
    experiment, state = make("optimizer={lr: 1e-30, weight_decay: 0.0}", "monitor.validate_every=32")
    events = list(make_loop(experiment).run(state, batches(experiment, 0)))
    records = [e.metrics for e in events if isinstance(e, Logged) and "validation/bits_per_dim" in e.metrics]
    assert len(records) == 10
    assert all(record == records[0] for record in records)
    grids = [event.raw for event in events if isinstance(event, Sampled)]
    assert all(torch.equal(grid, grids[0]) for grid in grids)
    assert grids[0].shape == (3, *SHAPE)
    assert grids[0].dtype == torch.uint8
    larger, other = make("optimizer={lr: 1e-30, weight_decay: 0.0}", "training.batch_size=40")
    last = list(make_loop(larger).run(other, batches(larger, 0)))
    (record,) = [e.metrics for e in last if isinstance(e, Logged) and "validation/bits_per_dim" in e.metrics][-1:]
    assert record == pytest.approx(records[0], rel=1e-6)


def test_the_slots_of_the_workers_are_those_of_one():
    """t and epsilon are functions of the place in the global batch, and times are spread evenly over it."""
    whole = noise(3, Slots(640, 24, 0, 24), SHAPE)
    for world in (2, 3, 8):
        part = 24 // world
        parts = [noise(3, Slots(640, 24, rank * part, part), SHAPE) for rank in range(world)]
        for name in whole._fields:
            assert torch.equal(torch.cat([getattr(p, name) for p in parts]), getattr(whole, name))
    gaps = whole.u.sort().values.diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / 24), rtol=0, atol=1e-15)
    assert not torch.equal(whole.u, noise(3, Slots(664, 24, 0, 24), SHAPE).u)
    assert not torch.equal(whole.epsilon, whole.epsilon_0)


def test_the_checksum_of_a_batch_is_that_of_its_parts_and_of_no_other_batch():
    rows = torch.randperm(10**6, generator=torch.Generator().manual_seed(1))[:24]
    whole = checksum(rows, Slots(640, 24, 0, 24))
    parts = [checksum(rows[i : i + 6], Slots(640, 24, i, 6)) for i in range(0, 24, 6)]
    assert sum(parts) % 2**32 == whole
    swapped, other = rows.clone(), rows.clone()
    swapped[[3, 20]] = rows[[20, 3]]
    other[7] += 1
    found = {checksum(r, Slots(p, 24, 0, 24)) for r, p in ((rows, 640), (swapped, 640), (other, 640), (rows, 664))}
    assert len(found) == 4


# Two real processes


def worker(rank: int, world: int, folder: str) -> None:
    """Train with flips and dropout on one of `world` workers, then without until a stop that rank 0 alone hears of."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    experiment, state = make("scaling.microbatch=4", "network.dropout=0.25")
    events = list(make_loop(experiment, rank, world, flip=True).run(state, batches(experiment, 0, rank, world)))
    end = copied(state)
    experiment, state = make()
    loop = make_loop(experiment, rank, world, stop=lambda: rank == 1 or state.position >= 96)
    stopped = list(loop.run(state, batches(experiment, 0, rank, world)))
    dist.destroy_process_group()
    checkpoint.write(Path(folder, str(rank)), EXAMPLES, end, {}, keep=2)
    found = {"events": [plain(e) for e in events], "stopped": [plain(e) for e in stopped]}
    Path(folder, f"{rank}.json").write_text(json.dumps(found))


@pytest.mark.parametrize("world", [2, 3])
def test_workers_train_like_one_also_with_unequal_parts(tmp_path, world):
    """Up to the order of float32 sums: records within 3e-5 of those of one process (relative), weights within 3e-5."""
    multiprocessing.spawn(worker, (world, str(tmp_path)), nprocs=world)
    alone = train("scaling.microbatch=4", "network.dropout=0.25", flip=True)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(world)]
    states = [checkpoint.latest(tmp_path / str(rank)).tensors for rank in range(world)]
    assert all(same(states[0], state) for state in states[1:])
    for name, weight in alone.end["model"].items():
        torch.testing.assert_close(states[0]["model"][name], weight, rtol=0, atol=3e-5)
    expected = json.loads(json.dumps([plain(event) for event in alone.events]))
    assert len(found[0]["events"]) == len(expected)
    for event, known in zip(found[0]["events"], expected, strict=True):
        assert event[0] == known[0]
        if isinstance(known[-1], dict):
            assert event[1] == pytest.approx(known[1], rel=3e-5)
            assert event[1].get("train/examples_checksum") == known[1].get("train/examples_checksum")
    # The other worker sees the same, but for the norm before the average, and draws no samples.
    assert [event[0] for event in found[1]["events"]] == [
        e.position for e in alone.events if not isinstance(e, Sampled)
    ]
    for rank in range(2):
        assert found[rank]["stopped"][-2:] == [[96], [96]]
