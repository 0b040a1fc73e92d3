"""From a preset's name and `key=value` overrides to a validated experiment; every mistake is one sentence."""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ndm.config import Experiment, flatten
from ndm.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "jobs" / "experiments"


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with 1e-3 read as the number it is (YAML 1.1 wants 1.0e-3)."""


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


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
    """The experiment of a nested mapping with `key=value` overrides laid on it; errors as for `load`."""
    pairs = [_split(text) for text in overrides]
    # First the kinds, so that the other overrides meet the variant they are meant for.
    for key, value in sorted(pairs, key=lambda pair: not pair[0].endswith(".kind")):
        _set(tree, key, value)
    return resolve(tree)


def resolve(tree: dict[str, Any]) -> Experiment:
    """A nested mapping as an experiment.

    Raises:
        UserError: naming the dotted key, the nearest valid key and the allowed values.
    """
    try:
        return Experiment.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise UserError(_sentence(error, tree)) from None


def _read(experiment: str) -> dict[str, Any]:
    path = Path(experiment) if experiment.endswith((".yaml", ".yml")) else FOLDER / f"{experiment}.yaml"
    if not path.is_file():
        raise UserError(f"There is no experiment {experiment}: {_hint(experiment, names(), 'presets')}")
    try:
        tree = yaml.load(path.read_text(), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, dict) or not all(isinstance(k, str) for k in tree):
        raise UserError(f"{path.name} must be a mapping of keys to values.")
    parent = tree.pop("extends", None)
    tree.setdefault("name", path.stem)
    if parent is None:
        return tree
    if parent == experiment:
        raise UserError(f"{path.name} extends itself; name another preset.")
    return _merge(_read(str(parent)), tree)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`; a subtree of another kind replaces the base's."""
    if over.get("kind", base.get("kind")) != base.get("kind"):
        return over
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged


def _split(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UserError(f"{text!r} is not of the form key=value, such as training.examples=200000.")
    try:
        return key, yaml.load(value, _Loader)
    except yaml.YAMLError:
        raise UserError(f"The value of {key} is not readable: {value!r}; quote it, or write a list as [1,2].") from None


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *path, leaf = key.split(".")
    node = tree
    for part in path:
        below = node.setdefault(part, {})
        if not isinstance(below, dict):
            raise UserError(f"Unknown key {key}: {_hint(key, valid_keys(tree), 'keys')}")
        node = below
    if leaf == "kind" and node.get("kind", value) != value:
        # A new kind keeps only the keys it shares with the old one.
        shared = set(_variant_fields(tree, path, value))
        for stale in set(node) - shared:
            del node[stale]
    node[leaf] = value


def _variant_fields(tree: dict[str, Any], path: list[str], kind: Any) -> Iterable[str]:
    for model in _models_at(Experiment, path, tree):
        if "kind" in model.model_fields and kind in get_args(model.model_fields["kind"].annotation):
            return model.model_fields
    return ()


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models a field's type admits."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _models_at(model: type[BaseModel], path: list[str], tree: Any) -> list[type[BaseModel]]:
    """The models that may stand at a dotted path, told apart on the way by the kinds chosen in `tree`."""
    candidates = [model]
    for part in path:
        kind = tree.get("kind") if isinstance(tree, dict) else None
        fields = [m.model_fields[part] for m in _chosen(candidates, kind) if part in m.model_fields]
        candidates = [m for field in fields for m in _models(field.annotation)]
        tree = tree.get(part) if isinstance(tree, dict) else None
    return candidates


def _chosen(models: list[type[BaseModel]], kind: Any) -> list[type[BaseModel]]:
    return [
        m for m in models if "kind" not in m.model_fields or kind in (None, *get_args(m.model_fields["kind"].annotation))
    ]


def valid_keys(tree: dict[str, Any]) -> list[str]:
    """Every dotted key that may be set, given the kinds chosen in `tree`."""

    def walk(models: list[type[BaseModel]], prefix: str, node: Any) -> Iterable[str]:
        kind = node.get("kind") if isinstance(node, dict) else None
        for model in _chosen(models, kind):
            for name, field in model.model_fields.items():
                below = _models(field.annotation)
                if below:
                    yield from walk(below, f"{prefix}{name}.", node.get(name) if isinstance(node, dict) else None)
                else:
                    yield f"{prefix}{name}"

    return sorted(set(walk([Experiment], "", tree)))


def _hint(word: str, valid: Sequence[str], what: str) -> str:
    close = difflib.get_close_matches(word, valid, n=1)
    return f"did you mean {close[0]}?" if close else f"the {what} are {', '.join(valid)}."


def _sentence(error: ValidationError, tree: dict[str, Any]) -> str:
    """The first mistake, unknown keys before all others, as one sentence."""
    details = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    detail = details[0]
    parts: list[str] = []
    node: Any = tree
    for part in detail["loc"]:
        # pydantic names the chosen variant inside the location; the dotted key does not.
        if isinstance(node, dict) and part not in node and part == node.get("kind"):
            continue
        parts.append(str(part))
        node = node.get(part) if isinstance(node, dict) else None
    key, context = ".".join(parts), detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            given = [k for k in flatten(tree) if k == key or k.startswith(f"{key}.")]
            key = given[0] if given else key
            return f"Unknown key {key}: {_hint(key, valid_keys(tree), 'keys')}"
        case "missing" | "union_tag_not_found":
            key = key if detail["type"] == "missing" else f"{key}.kind"
            return f"{key} is missing; set it in the preset or with {key}=..."
        case "union_tag_invalid":
            return f"{key}.kind={context['tag']} is unknown; allowed: {str(context['expected_tags']).replace(chr(39), '')}."
        case "literal_error":
            return f"{key}={detail['input']} is not allowed; allowed: {context['expected']}."
        case "value_error":
            message = str(context["error"])
            return f"{key}: {message}." if key else f"{message}."
        case _:
            return f"{key}={detail['input']!r} is not valid: {detail['msg'][0].lower()}{detail['msg'][1:]}."
