"""The audit of the environment finds what it is there to find."""

import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import audit
import pytest

NONE: frozenset[str] = frozenset()


def installed(folder: Path, name: str, version: str, *lines: str) -> Distribution:
    path = folder / f"{name}-{version}.dist-info"
    path.mkdir()
    (path / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines]))
    return Distribution.at(path)


def test_this_environment_is_the_tested_one() -> None:
    program = [sys.executable, audit.__file__]  # libraries add packages of their own to the path of this process
    said = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout.count("\n")) == (0, 1), said.stdout


def test_another_version_a_stranger_and_an_absent_package_are_told(tmp_path: Path) -> None:
    found = [installed(tmp_path, n, "1.0+cpu", "License-Expression: MIT") for n in ("Some_Thing", "stranger", "good")]
    said = audit.mistakes(
        audit.pins("some-thing==2.0\ngood==1.0 # why\nabsent==1\nbench==1\n"), found, NONE | {"bench"}
    )
    assert said == [
        "stranger is installed and not in constraints.txt.",
        "absent is in constraints.txt and not installed.",
        "some-thing is installed as 1.0, constraints.txt has 2.0.",
    ]


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("License-Expression: BSD-3-Clause AND CC0-1.0", True),
        ("License-Expression: MIT AND AGPL-3.0-only", False),
        ("License-Expression: Apache-2.0 OR GPL-2.0-only", True),
        ("Classifier: License :: OSI Approved :: MIT License", True),
        ("Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)", False),
        ("License: BSD", True),
        ("License: All rights reserved", False),
        ("Summary: nothing said", False),
    ],
)
def test_a_licence_is_permissive_or_somebody_has_to_read_it(tmp_path: Path, line: str, known: bool) -> None:
    said = audit.mistakes({"a": "1"}, [installed(tmp_path, "a", "1", line)], NONE)
    assert [text.startswith("a has the licence") for text in said] == [True] * (not known)


def test_a_line_that_pins_nothing_is_refused() -> None:
    for line in ("ray>=2", "ray", "ray @ https://host/ray.whl", "-r other.txt"):
        with pytest.raises(ValueError, match="no name==version"):
            audit.pins(line)
