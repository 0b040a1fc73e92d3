"""A search whose command is killed five times at random ends as one that nobody touched, to the last bit."""

import random
import time
from pathlib import Path

import pytest
from commands import Command, Tracked, ndm
from searches import TINY, told, undisturbed

pytestmark = pytest.mark.ray

KILLS = 5


def test_five_kills_change_neither_the_trials_nor_the_winner(tmp_path: Path, tmp_path_factory) -> None:
    killed, (alone, expected) = tmp_path, undisturbed(tmp_path_factory.getbasetemp())
    (killed / "tiny.yaml").write_text(TINY)
    draws = random.Random(6)
    for _ in range(KILLS):
        with Command(killed, "search", "tiny.yaml") as command:
            command.until(lambda: command.running("ray::"))
            time.sleep(draws.uniform(0, 6))
            command.kill()
    last = ndm(killed, "search", "tiny.yaml")

    assert told(killed) == told(alone)
    assert {standing.status for _, standing, _ in told(alone)} == {"finished", "stopped"}
    assert last.output.splitlines()[-4:-1] == [
        line.replace(str(alone), str(killed)) for line in expected.splitlines()[-4:-1]
    ]
    trials = [run for run in Tracked(killed / "runs").runs if run.data.tags["variant"] != "summary"]
    names = [str(run.info.run_name).partition(" ")[0] for run in trials]
    assert sorted(names) == [f"tiny-{number:03d}" for number in range(5)]  # no run twice
    assert {run.data.tags["outcome"] for run in trials} == {"finished", "stopped"}
    assert "is finished; --fresh starts it again" in ndm(killed, "search", "tiny.yaml").output
