"""Finds the variants of a family: each public module of the package is one variant, and its `kind` is the file's name.

A variant module holds a `Config` (frozen, strict) whose `build(...)` makes the variant's one class. Nothing is listed
by hand: a new file is a new variant, in configs, in `--help`, and in the contract tests.
"""

import importlib
import pkgutil
from functools import reduce
from operator import or_
from types import ModuleType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Config(BaseModel):
    """Base of every configuration: immutable, typed without coercion, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def kinds(package: str) -> tuple[str, ...]:
    """Names of the variants in `package` (e.g. "ndm.transforms"), sorted; modules with a leading underscore are not."""
    path = importlib.import_module(package).__path__
    return tuple(sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")))


def variant(package: str, kind: str) -> ModuleType:
    """The module of one variant."""
    return importlib.import_module(f"{package}.{kind}")


def union(package: str) -> Any:
    """The pydantic type that admits any variant's Config of the family, told apart by `kind`."""
    configs = [variant(package, kind).Config for kind in kinds(package)]
    if len(configs) == 1:
        return configs[0]
    return Annotated[reduce(or_, configs), Field(discriminator="kind")]
