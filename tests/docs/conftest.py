"""The pages whose commands are run, and the generator of the site's other pages."""

import sys

import pytest
from commands import REPOSITORY
from pages import Page

sys.path.append(str(REPOSITORY / "docs" / "generate"))


@pytest.fixture(scope="module")
def readme() -> Page:
    return Page("README.md")


@pytest.fixture(scope="module")
def experiments() -> Page:
    return Page("docs/experiments.md")


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
