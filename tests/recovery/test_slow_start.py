"""A machine that is too busy to start Ray in the half minute that Ray gives itself."""

import sys
from pathlib import Path

from commands import REPOSITORY
from processes import Process

STARTS = """
import pathlib, sys, threading, time
import psutil
from ndm.errors import UserError
from ndm.runtime import session as starting

def raylets():
    return [child for child in psutil.Process().children() if child.name() == "raylet"]

def hold(times):
    held = set()
    while len(held) < times:
        for raylet in {*raylets()} - held:
            raylet.suspend()
            held.add(raylet)
        time.sleep(0.02)

times, starting.STARTS = map(int, sys.argv[2:])
threading.Thread(target=hold, args=(times,), daemon=True).start()
try:
    with starting.session(pathlib.Path(sys.argv[1]), 1):
        import ray
        print("STARTED", ray.get(ray.remote(lambda: 6 * 7).remote()), len(raylets()))
except UserError as error:
    print("REFUSED", error, len(raylets()))
"""


def start(folder: Path, held: int, attempts: int) -> str:
    """What comes of it when the node is held in its first so many starts."""
    program = [sys.executable, "-c", STARTS, str(folder), str(held), str(attempts)]
    environment = {"PYTHONPATH": str(REPOSITORY / "platform"), "PATH": "/usr/bin:/bin"}
    with Process(program, folder, folder / "start", environment) as process:
        assert process.ended() == 0, process.errors
        return process.output


def test_a_start_that_was_too_slow_is_made_again(tmp_path: Path) -> None:
    assert start(tmp_path, held=1, attempts=2) == "STARTED 42 1\n"


def test_a_machine_that_stays_too_busy_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    said = start(tmp_path, held=1, attempts=1)
    assert said.startswith("REFUSED Ray did not start on this machine in 30 s, because it is too busy: ")
    assert said.endswith(" 0\n")
