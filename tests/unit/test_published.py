"""Published numbers: every row has a source and says of which data it is, and versions are never joined."""

import math
import re

import pytest
from analysis.published import ALLOWED, UNKNOWN, Published, beside, published
from analysis.run import DataSet

from ndm.data.sources import AnyConfig
from ndm.registry import variant

SOURCES = {
    "cifar10": [{}],
    "imagenet_oord": [{"size": 32}, {"size": 64}],
    "imagenet_chrabaszcz": [{"size": 32}, {"size": 64}],
}


def source(kind: str, **keys: int) -> AnyConfig:
    return variant("ndm.data.sources", kind).Config(**keys)


IDENTITIES = [source(kind, **keys).identity() for kind, each in SOURCES.items() for keys in each]
"""As manifests of the originals have them."""


@pytest.mark.parametrize("row", published(), ids=lambda row: f"{row.method}-{row.data}-{row.version}-{row.value}")
def test_a_row_is_whole(row: Published) -> None:
    for column, values in ALLOWED.items():
        assert getattr(row, column) in values, column
    assert math.isfinite(row.value)
    assert 0 < row.value < (8 if row.unit == "bits/dim" else 100)
    assert (row.unit == "FID") == (row.estimator == "samples")
    assert row.method
    assert re.search(r"arXiv \d{4}\.\d{5}|README of [\w-]+/[\w-]+|OpenReview \w+", row.source)
    if row.certainty == "first-hand":
        assert "listed" not in row.source


@pytest.mark.parametrize("row", published(), ids=lambda row: f"{row.method}-{row.data}-{row.version}-{row.value}")
def test_the_data_of_a_row_are_known_to_our_sources(row: Published) -> None:
    names = {identity["name"] for identity in IDENTITIES}
    if row.version == UNKNOWN:
        assert row.name is None
        assert any(name.startswith(f"{row.data}-") for name in names)
    else:
        assert row.name in names


def test_no_row_is_there_twice() -> None:
    rows = [row[:8] for row in published()]
    assert len(set(rows)) == len(rows) > 20


def test_a_number_is_of_one_data_set_at_most_and_of_none_if_its_version_is_not_known() -> None:
    found = {identity["name"]: DataSet(**identity, hash="") for identity in IDENTITIES}
    for row in published():
        assert [name for name, data in found.items() if row.is_of(data)] == ([] if row.name is None else [row.name])


def test_beside_runs_stand_the_numbers_of_their_version_alone() -> None:
    old = beside(DataSet("imagenet32-oord", "1-10000", ""))
    new = beside(DataSet("imagenet32-chrabaszcz", "1-10000", ""))
    values = [{(row[0], row[1]) for row in table.rows} for table in (old, new)]
    assert ("i-DODE", "3.69 bits/dim") in values[0]
    assert ("i-DODE", "3.43 bits/dim") in values[1]
    assert values[0].isdisjoint(values[1])
    assert all("NDM 3.55 bits/dim" in table.notes[1] for table in (old, new))  # the paper's version is not known
    assert "i-DODE 3.43 bits/dim" in old.notes[2]
    assert "second-hand" in old.notes[0]


@pytest.mark.parametrize(
    "data",
    [
        DataSet("imagenet32-oord", "any-0123456789ab-10000", ""),
        DataSet("cifar10", "any-0123456789ab-1000", ""),
        DataSet("imagenet64-box-tar", "1-10000", ""),
        DataSet("digits", "1", ""),
    ],
    ids=str,
)
def test_data_that_are_not_the_published_ones_have_no_numbers_beside_them(data: DataSet) -> None:
    table = beside(data)
    assert table.rows == []
    assert table.notes[0] == f"No published number that could be sourced is known to be of {data}."


def test_how_many_were_held_out_of_training_does_not_matter() -> None:
    assert beside(DataSet("cifar10", "1-1000", "")).rows == beside(DataSet("cifar10", "1-5000", "")).rows != []
