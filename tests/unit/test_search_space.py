"""The space of a search: quantiles, conditions, grids, and what is no space."""

import math
from collections import Counter

import pytest
from pydantic import ValidationError

from ndm.search.space import Dimension, draw, grid, keys_of, label

BASE = {"transform.kind": "residual", "optimizer.lr": 1e-3}


def dimension(**values):
    return Dimension.model_validate(values)


def test_quantiles_go_to_values_by_the_law_of_the_dimension():
    assert [dimension(choice=("a", "b", "c")).at(u) for u in (0.01, 0.34, 0.99)] == ["a", "b", "c"]
    assert dimension(uniform=(2.0, 4.0)).at(0.25) == 2.5
    assert dimension(loguniform=(1e-4, 1e-2)).at(0.5) == pytest.approx(1e-3)
    counts = Counter(dimension(integers=(3, 5)).at((i + 0.5) / 300) for i in range(300))
    assert counts == {3: 100, 4: 100, 5: 100}
    assert dimension(choice=("a",)).at(math.nextafter(1.0, 0.0)) == "a"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "one of choice"),
        ({"choice": ("a",), "uniform": (0.0, 1.0)}, "one of choice"),
        ({"uniform": (1.0, 1.0)}, "least, most"),
        ({"loguniform": (0.0, 1.0)}, "above 0"),
        ({"choice": ()}, "at least 1"),
        ({"chioce": ("a",)}, "Extra inputs"),
    ],
)
def test_what_is_no_dimension_is_refused(values, sentence):
    with pytest.raises(ValidationError, match=sentence):
        dimension(**values)


CONDITIONAL = {
    "transform.kind": dimension(choice=("residual", "time_basis")),
    "transform.degree": dimension(integers=(1, 3), when={"transform.kind": "time_basis"}),
    "optimizer.lr": dimension(uniform=(0.0, 1.0)),
}


def test_a_condition_takes_a_dimension_away_and_changes_no_other():
    without, having = draw(CONDITIONAL, BASE, [0.1, 0.9, 0.5]), draw(CONDITIONAL, BASE, [0.9, 0.9, 0.5])
    assert without == {"transform.kind": "residual", "optimizer.lr": 0.5}
    assert having == {"transform.kind": "time_basis", "transform.degree": 3, "optimizer.lr": 0.5}


@pytest.mark.parametrize(("wanted", "there"), [("residual", True), (["scale", "residual"], True), (["scale"], False)])
def test_a_condition_sees_the_experiment_below_the_point(wanted, there):
    space = {"optimizer.warmup": dimension(choice=(1,), when={"transform.kind": wanted})}
    assert ("optimizer.warmup" in draw(space, BASE, [0.5])) is there


def test_a_condition_on_a_key_that_is_not_there_is_not_met():
    assert draw({"a": dimension(choice=(1,), when={"no.such": None})}, BASE, [0.5]) == {}


def test_a_condition_sees_the_keys_of_a_section_that_was_chosen():
    space = {
        "transform": dimension(choice=({"kind": "scale"}, {"kind": "time_basis", "network": {"width": 8}})),
        "optimizer.lr": dimension(choice=(1.0,), when={"transform.network.width": 8}),
    }
    assert [sorted(draw(space, BASE, [u, 0.5])) for u in (0.1, 0.9)] == [["transform"], ["optimizer.lr", "transform"]]


def test_a_grid_has_every_combination_once_and_no_twins():
    space = {
        "transform.kind": dimension(choice=("residual", "time_basis")),
        "transform.degree": dimension(choice=(1, 2, 3), when={"transform.kind": "time_basis"}),
        "seeded": dimension(choice=(True, False)),
    }
    points = list(grid(space, BASE))
    assert len(points) == 2 + 3 * 2
    assert [point["seeded"] for point in points[:2]] == [True, False]  # the last dimension is the fastest


def test_a_point_is_its_dotted_keys_and_a_few_words():
    point = {"transform": {"kind": "residual", "network": {"kind": "mlp", "width": 8}}, "optimizer.lr": 0.00123456}
    assert keys_of(point) == {
        "transform.kind": "residual",
        "transform.network.kind": "mlp",
        "transform.network.width": 8,
        "optimizer.lr": 0.00123456,
    }
    assert label(point, {}) == "residual, lr 0.00123"
    kinds = ({"kind": "scale"}, {"kind": "scale", "per": "dimension"}, {"kind": "residual", "network": {"width": 8}})
    space = {"transform": dimension(choice=kinds), "samples": dimension(choice=({"count": 5},))}
    assert [label({"transform": kind}, space) for kind in kinds] == ["scale", "scale per dimension", "residual"]
    assert label({"samples": {"count": 5}}, space) == "count 5"
