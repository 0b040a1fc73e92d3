"""Benchmarks run from the beginning to their table, on little data and without the peers."""

import os
import re
import subprocess
import sys
from pathlib import Path

from commands import REPOSITORY
from processes import LONG


def test_the_benchmark_of_the_ingest_ends_with_a_table(tmp_path: Path) -> None:
    few = ["--images", "1000", "--rounds", "1", "--seconds", "1", "--without-peers"]
    where = ["--folder", str(tmp_path / "files"), "--results", str(tmp_path / "ingest.md")]
    script = [sys.executable, str(REPOSITORY / "benchmarks" / "ingest.py"), *few, *where]
    done = subprocess.run(script, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "ingest.md").read_text()
    assert "1,024 images of 3x32x32" in text  # whole batches
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    cells = {row[0]: row[1:] for row in rows}
    for name in ("webdataset", "mosaicml-streaming"):
        assert cells[name][0] == "left out"
    for name in ("DataLoader over a memory-map", "ndm, through Ray Data"):
        per_core, share, wall, first = (float(cell.replace(",", "")) for cell in cells[name])
        assert min(per_core, share, wall) > 0
        assert 0 <= first < LONG
    assert cells["DataLoader over a memory-map"][1] == "1.000"
    assert len([name for name in cells if re.match(r"pyarrow|`read_shard`|`prepare`", name)]) == 4
    reader, workers, preparation = (float(cell) for cell in cells["2,048"])
    assert min(reader, workers, preparation) > 0
    assert not list((tmp_path / "files").glob("twice"))


def test_the_benchmark_of_the_training_ends_with_a_table(tmp_path: Path) -> None:
    small = ["network.kind=mlp", "network.width=16", "transform.network.width=16", "samples.quality=false"]
    few = ["--rounds", "1", "--examples", "2560", "--save", "1280", "--out", str(tmp_path / "train.md")]
    script = [sys.executable, str(REPOSITORY / "benchmarks" / "train.py"), *few, *small]
    done = subprocess.run(script, capture_output=True, text=True, timeout=LONG, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split("|") for line in (tmp_path / "train.md").read_text().splitlines() if line[:1] == "|"]
    measured = [float(row[1].strip().rstrip("%")) for row in rows[2:]]
    assert len(measured) == 6
    assert min(measured) >= 0
    assert all(ratio > 0.01 for ratio in measured[:2])


def test_a_loop_that_dies_ends_the_benchmark_with_a_sentence(tmp_path: Path) -> None:
    program = "import pathlib, train; train.bare_rate((), pathlib.Path('nowhere'), 256, 2)"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(REPOSITORY / name) for name in ("benchmarks", "platform"))
    }
    script = [sys.executable, "-c", program]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=LONG, cwd=tmp_path)
    assert done.returncode == 1
    assert "ndm prepare" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("A process of the bare loop died before it had a rate")
