"""The benchmark of the ingest runs from images to table, on few of them and without the peers."""

import re
import subprocess
import sys
from pathlib import Path

from commands import LONG, REPOSITORY


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
