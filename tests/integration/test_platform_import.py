"""The folder `platform/` hides nothing of the standard library, not even in a Ray worker that starts next to it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from commands import REPOSITORY
from processes import LONG

WORKER = """
import os, pathlib, sys
from ndm.runtime.session import session  # first: Ray reads the settings made there when it is imported
import ray

def seen():
    import platform
    return platform.machine(), platform.__file__, os.getcwd()

with session(pathlib.Path(sys.argv[1]), 1):
    print(*ray.get(ray.remote(seen).remote()), sep="\\n")
"""


def test_the_source_root_is_no_package() -> None:
    assert not (REPOSITORY / "platform" / "__init__.py").exists()


@pytest.mark.ray
def test_a_worker_started_in_the_repository_has_the_standard_platform(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, timeout=LONG
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [platform.machine(), platform.__file__, os.fspath(REPOSITORY)]
