"""Reads the commands and code out of the documentation."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Page:
    """A Markdown page: its fenced blocks by language ("" for shell commands)."""

    def __init__(self, name: str) -> None:
        self.text = (REPOSITORY / name).read_text()
        self.blocks = FENCE.findall(self.text)

    @property
    def commands(self) -> list[str]:
        return [line for language, block in self.blocks if not language for line in block.splitlines() if line]

    @property
    def yaml(self) -> list[str]:
        return [block for language, block in self.blocks if language == "yaml"]

    @property
    def python(self) -> list[str]:
        return [block for language, block in self.blocks if language == "python"]


@pytest.fixture(scope="module")
def readme() -> Page:
    return Page("README.md")


@pytest.fixture(scope="module")
def likelihoods() -> Page:
    return Page("docs/likelihood.md")


@pytest.fixture(scope="module")
def data_sets() -> Page:
    return Page("docs/data.md")


@pytest.fixture(scope="module")
def training() -> Page:
    return Page("docs/training.md")


@pytest.fixture(scope="module")
def searching() -> Page:
    return Page("docs/search.md")


@pytest.fixture(scope="module")
def contributing() -> Page:
    return Page("CONTRIBUTING.md")


@pytest.fixture(scope="module")
def exporting() -> Page:
    return Page("docs/export.md")


@pytest.fixture(scope="module")
def reporting() -> Page:
    return Page("docs/report.md")


@pytest.fixture(scope="module")
def api() -> Page:
    return Page("docs/api.md")


@pytest.fixture(scope="module")
def comparing() -> Page:
    return Page("docs/compare.md")
