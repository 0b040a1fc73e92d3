"""A benchmark's quick form runs to its end, so that the long one does when it is wanted."""

import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_ndm_step_prints_its_table():
    before = {path: path.stat().st_mtime_ns for path in (BENCHMARKS / "results").iterdir()}
    script = [sys.executable, str(BENCHMARKS / "ndm_step.py"), "--quick"]
    text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    rows = dict(re.findall(r"^\| ([^|]+?) \| \S+ \|(.*)\|$", text, re.MULTILINE))
    assert list(rows) == ["F", "F(x, t) = x", "residual, stacked", "residual, torch.func.jvp", "time_basis"]
    flops = {name: float(row.split("|")[3]) for name, row in rows.items() if name != "F"}
    kept = {name: float(row.split("|")[6]) for name, row in rows.items() if name != "F"}
    assert flops["F(x, t) = x"] == 1
    for counted in (flops, kept):
        assert counted["time_basis"] < counted["residual, stacked"] < counted["residual, torch.func.jvp"]
    assert {path: path.stat().st_mtime_ns for path in (BENCHMARKS / "results").iterdir()} == before
