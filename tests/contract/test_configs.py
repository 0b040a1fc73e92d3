"""Every variant's Config: its kind is its file's name, it survives JSON, it refuses what it does not know."""

import importlib
import json

import pytest
from pydantic import TypeAdapter, ValidationError

from ndm import registry

FAMILIES = tuple(
    f"ndm.{family}"
    for family in (
        *("schedules", "transforms", "volatilities", "networks", "heads", "objectives", "sampling"),
        "data.sources",
    )
)


def family_of(config: registry.Config) -> str:
    return type(config).__module__.rpartition(".")[0]


def test_kind_is_the_name_of_the_file(config):
    assert type(config).__module__ == f"{family_of(config)}.{config.kind}"
    assert type(config).model_fields["kind"].default == config.kind


def test_the_file_says_what_it_is(config):
    assert len(importlib.import_module(type(config).__module__).__doc__) > 60


def test_json_round_trip_through_the_family(config):
    family = TypeAdapter(importlib.import_module(family_of(config)).AnyConfig)
    assert family.validate_json(config.model_dump_json()) == config


def test_unknown_keys_and_other_kinds_are_refused(config):
    values = json.loads(config.model_dump_json())
    for wrong in ({"no_such_key": 1}, {"kind": "no_such_kind"}):
        with pytest.raises(ValidationError):
            type(config).model_validate_json(json.dumps(values | wrong))


def test_it_is_frozen(config):
    with pytest.raises(ValidationError):
        config.kind = "other"
