"""The dotted keys of an experiment, read off its types: which there are, given the kinds that a tree of values chooses.

A section is a mapping of keys; where it has variants, its key `kind` says which. The models of a section are given by
kind, or under None for a section without variants.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from ndm.config import Experiment

Models = Mapping[str | None, type[BaseModel]]

ROOT: Models = {None: Experiment}


def section(annotation: Any) -> Models:
    """The models that a field's type admits; none for a field that holds a value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        kind = annotation.model_fields.get("kind")
        return dict.fromkeys(get_args(kind.annotation) if kind else (None,), annotation)
    return {kind: model for part in get_args(annotation) for kind, model in section(part).items()}


def chosen(models: Models, node: Any) -> list[type[BaseModel]]:
    """The model of the kind in `node`; all of them where it is missing or unknown."""
    kind = node.get("kind") if isinstance(node, dict) else None
    return [models[kind]] if isinstance(kind, str) and kind in models else list(models.values())


def below(models: Models, node: Any, name: str) -> Models | None:
    """The section under a name of a section; empty where a value stands, None where there is no such key."""
    fields = [model.model_fields[name] for model in chosen(models, node) if name in model.model_fields]
    return {k: m for field in fields for k, m in section(field.annotation).items()} if fields else None


def at(path: Sequence[str], tree: Any) -> tuple[Models, Any]:
    """The section at a path and what `tree` has there; an empty section where there is none."""
    models, node = ROOT, tree
    for part in path:
        models, node = below(models, node, part) or {}, node.get(part) if isinstance(node, dict) else None
    return models, node


def names(models: Models, node: Any) -> list[str]:
    """The names directly in a section."""
    return sorted({name for model in chosen(models, node) for name in model.model_fields})


def valid(tree: Any) -> list[str]:
    """Every dotted key that may be given a value."""

    def walk(models: Models, node: Any, prefix: str) -> Iterator[str]:
        for name in names(models, node):
            if further := below(models, node, name):
                yield from walk(further, node.get(name) if isinstance(node, dict) else None, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    return list(walk(ROOT, tree, ""))
