"""From a preset's name and `key=value` overrides to a validated experiment; every mistake is one sentence."""

import copy
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ndm import environment, files, keys, mistakes, notation
from ndm.config import Experiment, Storage, flatten
from ndm.data import places
from ndm.errors import UserError
from ndm.tracking.runs import without_secrets

FOLDER = Path(__file__).resolve().parents[2] / "jobs" / "experiments"
LONGEST = 2**20
"""Bytes of a file of an experiment or a search; the largest that ships has a thousand."""


def names() -> list[str]:
    """The presets that ship with the project."""
    return sorted(p.stem for p in FOLDER.glob("*.yaml"))


def load(experiment: str, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a preset's name or a YAML file's path, with `key=value` overrides.

    Raises:
        UserError: an unknown preset, an unreadable file, an unknown key, a wrong value or an impossible combination.
    """
    return override(_read(experiment), overrides)


def override(tree: dict[str, Any], overrides: Sequence[str]) -> Experiment:
    """The experiment of a nested mapping with `key=value` overrides laid on it.

    A value that is a mapping stands for its dotted keys. A new kind keeps the keys that it shares with the old one. The
    order of overrides matters only between two of the same key: the last one counts. Errors as for `load`.
    """
    return lay(tree, [split(text) for text in overrides])


def lay(tree: dict[str, Any], values: Iterable[tuple[str, Any]]) -> Experiment:
    """The experiment of a nested mapping with (dotted key, value) pairs laid on it, as `override` does."""
    tree, given = copy.deepcopy(tree), dict[str, Any]()
    for key, value in values:
        given |= flatten(value, f"{key}.") if isinstance(value, dict) else {key: value}
    _give_way(tree, given)
    # First the kinds, the outer ones before the inner ones, so that every key meets the variant it is meant for.
    for key in sorted(given, key=lambda key: (not key.endswith(".kind"), key.count("."), key)):
        _set(tree, key.split("."), given[key])
    return resolve(tree)


def resolve(tree: dict[str, Any]) -> Experiment:
    """A nested mapping as an experiment.

    Raises:
        UserError: naming the dotted key, the nearest valid key and the allowed values.
    """
    check_environment()
    if mistake := mistakes.in_keys(tree):
        raise UserError(mistake)
    try:
        return Experiment.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise UserError(mistakes.in_values(error, tree)) from None


def storage(overrides: Sequence[str]) -> Storage:
    """Where the overrides among these, and the environment, say that runs are kept, whatever they are laid on.

    Raises:
        UserError: they do not say it rightly.
    """
    return load(names()[0], [text for text in overrides if text.startswith("storage.")]).storage


def check_environment() -> None:
    """UserError where the environment names what is no place of runs, or no tracking server."""
    for name, valid in ((environment.STORE, places.without_secrets), (environment.TRACKING, without_secrets)):
        value = os.environ.get(name, "")
        try:
            valid(value)
        except ValueError as error:
            shown = mistakes.shown(value)
            raise UserError(f"{name}={shown} in the environment is not valid: it must be {error}.") from None


def _read(experiment: str, folder: Path = Path(), below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of a preset or a file, laid on what it extends; `below` are the files that led here."""
    if experiment.endswith((".yaml", ".yml")):
        path = folder / experiment
    elif experiment in names():
        path = FOLDER / f"{experiment}.yaml"
    else:
        shown = mistakes.shown(experiment)
        of = f" that {below[-1].name} could extend" if below else ""
        raise UserError(f"There is no experiment {shown}{of}: {mistakes.hint(shown, names(), 'presets')}")
    tree = parse(path, "experiment")
    parent = tree.pop("extends", None)
    tree.setdefault("name", path.stem)
    if parent is None:
        return tree
    chain = (*below, path.resolve())
    if path.resolve() in below:
        raise UserError(f"{' extends '.join(file.name for file in chain)}; let one of them extend another preset.")
    if not isinstance(parent, str):
        raise UserError(f"extends={mistakes.shown(parent)} in {path.name} is not valid: it must be a preset or a file.")
    return _merge(_read(parent, path.parent, chain), tree)


def parse(path: Path, what: str) -> dict[str, Any]:
    """The mapping in a file.

    Raises:
        UserError: the file of an experiment, or what else it is, cannot be read.
    """
    try:
        tree = notation.read(files.content(path, LONGEST).decode())
    except OSError as error:
        shown = mistakes.shown(str(path))
        raise UserError(f"The {what} {shown} cannot be read: {str(error.strerror).lower()}.") from None
    except UnicodeDecodeError:
        raise UserError(f"The {what} {path.name} cannot be read: it is not text in UTF-8.") from None
    except ValueError as error:
        raise UserError(f"The {what} {mistakes.shown(path.name)} is not valid YAML: {error}.") from None
    if not isinstance(tree, dict):
        raise UserError(f"The {what} {path.name} must be a mapping of keys to values.")
    return tree


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`; a subtree of another kind replaces the base's."""
    if over.get("kind", base.get("kind")) != base.get("kind"):
        return over
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged


def split(text: str) -> tuple[str, Any]:
    """An override as its key and value; UserError if it is none."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        shown = mistakes.shown(text)
        raise UserError(f"{shown} is not of the form key=value, such as training.examples=200000.")
    try:
        return key, notation.read(value)
    except ValueError as error:
        shown = f"{mistakes.shown(key)}={mistakes.shown(value)}"
        raise UserError(f"{shown} is not readable: {error}; quote the value, or write a list as [1,2].") from None


def _give_way(tree: dict[str, Any], given: dict[str, Any]) -> None:
    """Steps that are asked for take the place of the experiment's own times, and times that of its steps."""
    sampler = tree.get("sampler")
    for asked, before in (("steps", "times"), ("times", "steps")):
        if isinstance(sampler, dict) and given.get(f"sampler.{asked}") is not None:
            sampler.pop(before, None)


def _set(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Give a key its value; a plain value in the way gives way."""
    node = tree
    for part in path[:-1]:
        if not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]
    if path[-1] == "kind" and node.get("kind", value) != value:
        models, _ = keys.at(path[:-1], tree)
        shared = models[value].model_fields if isinstance(value, str) and value in models else {}
        for stale in node.keys() - shared.keys():
            del node[stale]
    node[path[-1]] = value
