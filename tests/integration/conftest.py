"""A real Ray inside the test process. One at a time on a machine: Ray's helpers refuse to choose between two."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE_ROOT = Path(__file__).parents[2] / "platform"


@pytest.fixture(scope="module")
def embedded_ray() -> Iterator[None]:
    """Ray with four CPUs for the tests of one module; its workers import `ndm` from this source tree.

    Ray Data waits for ever in the second Ray of a process: test_ingest, which uses it, comes first by its name.
    """
    import ray

    paths = [str(SOURCE_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        try:
            yield
        finally:
            ray.shutdown()
