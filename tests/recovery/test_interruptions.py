"""A training that is killed, interrupted and damaged at every stage ends bit for bit where an undisturbed one ends."""

import os
import re
import signal
from pathlib import Path

import pytest
from commands import TINY, Command, Tracked, checkpoints, likelihood, ndm, records, refusal, tensors, uninterrupted

pytestmark = pytest.mark.ray

SLOW = (*TINY, "run.name=slow", "monitor.validate_every=640", "monitor.validation_draws=100")
"""The same training; the long validations leave time to disturb it between two records."""


def test_no_interruption_leaves_a_trace_in_the_result(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    expected = uninterrupted(tmp_path_factory.getbasetemp()).run
    root, run = tmp_path / "runs", tmp_path / "runs" / "slow"

    def reached() -> int:
        return max((step for step, _ in records(run, "train/bits_per_dim")), default=0)

    # The power fails before the first checkpoint.
    with Command(tmp_path, "train", *SLOW) as command:
        command.until(lambda: reached() >= 640)
        command.cut()
    assert checkpoints(run) == []

    # A second job on the run is refused. A worker is killed; its group starts again from the checkpoint. Ctrl-C.
    with Command(tmp_path, "train", *SLOW) as command:
        command.until(lambda: "Training slow on 2 worker(s) ..." in command.output)
        assert "The run slow is in use by another job" in refusal(tmp_path, "train", *SLOW)
        command.until(lambda: checkpoints(run) == [1280] and reached() >= 1920)
        os.kill(command.running("ray::RayTrainWorker")[0].pid, signal.SIGKILL)
        command.until(lambda: 2560 in checkpoints(run))
        command.interrupt()
        assert command.ended() == 130
    assert "A worker died; the training goes on from the checkpoint at 1280 examples." in command.errors
    position = max(checkpoints(run))
    assert 2560 < position < 5120
    assert f"Stopped at {position} of 5120 examples; the same command goes on from there." in command.output
    assert Tracked(root).run.info.status == "KILLED"

    # The newest checkpoint is damaged, so the one before it is taken. The command is killed between two checkpoints.
    file = run / "checkpoints" / f"{position:012d}" / "ema.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    before = sorted(checkpoints(run))[-2]
    with Command(tmp_path, "train", *SLOW) as command:
        command.until(lambda: f"Training slow on 2 worker(s) from {before} of 5120 examples on ..." in command.output)
        assert command.errors.startswith(f"Checkpoint {position:012d} is passed over: ema.safetensors is not what")
        command.until(lambda: max(checkpoints(run)) == 3840 and reached() >= 4480)
        command.kill()
    left = max(checkpoints(run))

    # Terminated while the images are scored, as a scheduler would: what is trained is trained. Nothing is left to train
    # where the workers of the killed command came to the end before they missed it.
    with Command(tmp_path, "train", *SLOW) as command:
        command.until(lambda: command.running("ray::score_block"))
        command.process.terminate()
        assert command.ended() == 130
    assert ("Training slow" in command.output) == (left == 3840)
    assert max(checkpoints(run)) == 5120
    assert not (run / "results.json").exists()
    assert Tracked(root).run.info.status == "KILLED"

    last = ndm(tmp_path, "train", *SLOW)
    assert "Training" not in last.output
    assert tensors(run, 5120) == tensors(expected, 5120)
    assert likelihood(run).equals(likelihood(expected))
    tracked = Tracked(root)
    assert tracked.run.info.status == "FINISHED"
    for key in ("train/bits_per_dim", "train/diffusion", "train/gradient_norm", "train/learning_rate"):
        assert records(run, key) == records(expected, key) == tracked.history(key)
    steps = list(range(640, 5121, 640))
    assert [step for step, _ in tracked.history("validation/bits_per_dim")] == steps
    shown = [re.search(r"\+step\+(\d+)\+.*\.png$", path) for path in tracked.artifacts("images")]
    assert sorted(int(match[1]) for match in shown if match) == steps
