"""The tutorial on a first transform, followed in a copy of the project by its own commands."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import REPOSITORY
from pages import Page
from processes import LONG

pytestmark = pytest.mark.ray

TUTORIAL = Page("docs/tutorials/first-transform.md")
SMALLER = ["training.examples=2560", "evaluation.draws=2", "scaling.workers=1"]
RUN = re.compile(r"digits-tiny-[0-9a-f]{8}")


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project with the file of the page in it."""
    copy = tmp_path_factory.mktemp("tutorial")
    for folder in ("platform", "jobs", "tests", "analysis", "docs"):
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    (code,) = TUTORIAL.python
    assert len(code.splitlines()) < 60
    (copy / "platform/ndm/transforms/squash.py").write_text(code)
    return copy


def run(copy: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": f"{copy / 'platform'}:{copy}:{copy / 'docs/generate'}"}
    done = subprocess.run(
        [sys.executable, *words], cwd=copy, env=environment, capture_output=True, text=True, timeout=LONG
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_file_is_a_transform_that_trains_and_is_compared(copy: Path) -> None:
    check, dry_run, contract, identity, squash, compare, scale, report = TUTORIAL.commands
    assert check == "make check"
    described = run(copy, "-m", "ndm.cli", *shlex.split(dry_run)[1:])
    assert "transform parameters     64\n" in described
    assert "212,992 FLOPs" in described
    tested = run(copy, *shlex.split(contract)[1:], "-p", "no:cacheprovider")
    assert int(tested.rpartition(" passed")[0].split()[-1]) >= 30

    named, trained = {}, {}
    for command in (identity, squash, scale):
        words = ["-m", "ndm.cli", *shlex.split(command)[1:]]
        (named[command],) = set(RUN.findall(run(copy, *words, "--dry-run")))
        if command is not scale:
            said = run(copy, *words, *SMALLER)
            assert "180 of 180" in said
            trained[named[command]] = RUN.findall(said)[0]
    assert RUN.findall(compare) == [named[identity], named[squash]], "the names that the reader will see"
    assert RUN.findall(report) == [named[squash], named[scale]]
    compared = run(copy, "-m", "ndm.cli", *(trained.get(word, word) for word in shlex.split(compare)[1:]))
    assert re.search(r"transform\.kind +identity +squash", compared)
    assert re.search(rf"elbo_cont_k2 +{trained[named[squash]]} +[+-]\d", compared)


def test_the_site_has_a_page_for_it(copy: Path) -> None:
    page = run(copy, "-c", "import variants; print(variants.page(variants.FAMILIES[0], 'squash'))")
    assert "> F(x, t) = x + t a (tanh(s x) / s - x)" in page
    assert "| `transform.sharpness` | `float` | `2.0` | The s of the equation" in page
    assert "64 parameters." in page
