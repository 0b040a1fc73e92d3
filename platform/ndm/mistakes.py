"""What is wrong with a tree of values that should be an experiment, as one sentence with the remedy."""

import difflib
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from ndm import keys

EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text (with quotes where it looks like a number)",
    "tuple_type": "a list such as [1,2]",
    "too_short": "a list of at least {min_length}",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "value_error": "{error}",
}
"""pydantic's types of errors, in words that follow "it must be"."""

LONGEST = 80
DEEPEST = 8

UNKNOWN, SCALAR, KIND, MISSING, ODD = range(5)
"""Ranks of mistakes: the lowest is told, as a wrong key makes others look missing."""


def in_keys(tree: Any) -> str | None:
    """The first mistake in the keys of a tree and in the form of its values."""
    found = sorted(_walk(keys.ROOT, tree, (), tree), key=lambda mistake: mistake[0])
    return found[0][1] if found else None


def in_values(error: ValidationError, tree: dict[str, Any]) -> str:
    """The first mistake that pydantic found in a tree whose keys are right."""
    details = error.errors(include_url=False)
    key, value, inside = place = _place(details[0]["loc"], tree)
    same = [detail for detail in details if _place(detail["loc"], tree) == place]
    texts = [EXPECTED.get(d["type"], d["msg"]).format(**d.get("ctx", {})).replace("'", "") for d in same]
    wanted = " or ".join(dict.fromkeys(texts))
    if isinstance(value, dict):  # keys that do not go together; the message names them
        return f"{key}: {wanted}." if key else f"{wanted}."
    start = f"{key} has no value" if value is None else f"{key}={shown(value)} is not valid"
    return f"{start}: {'each value' if inside else 'it'} must be {wanted}."


def shown(value: Any) -> str:
    """A value as it would be typed, cut where it is long."""
    plain = isinstance(value, str) and value.isprintable()
    text = value if plain else json.dumps(value, separators=(",", ":")) if _is_plain(value) else ascii(value)
    text = re.sub(r"(://).*(@)|(://[^?#]*[?#]).*", r"\1\3...\2", text)  # where a URI may have a password
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def hint(word: str, valid: Sequence[str], what: str) -> str:
    """The end of a sentence about an unknown word: the nearest valid one, or all of them, if there are any."""
    if not valid:
        return "there are none yet."
    close = difflib.get_close_matches(word, valid, n=1)
    return f"did you mean {close[0]}?" if close else f"the {what} are {', '.join(valid)}."


def _walk(models: keys.Models, node: Any, path: tuple[str, ...], tree: Any) -> Iterator[tuple[int, str]]:
    """(rank, sentence) of every mistake in one section and below it."""
    key, kinds = ".".join(path), [kind for kind in models if kind is not None]
    allowed = f"allowed: {', '.join(kinds)}"
    if not isinstance(node, dict):
        name, value = ("kind", node if node in kinds else "...") if kinds else (keys.names(models, node)[0], "...")
        given = "is empty" if node is None else f"holds keys, not the value {shown(node)}"
        yield SCALAR, f"{key or 'The experiment'} {given}; write {key}{'.' if key else ''}{name}={value}"
        return
    if "kind" in node and kinds and node["kind"] not in kinds:
        yield KIND, f"{key}.kind={shown(node['kind'])} is unknown; {allowed}."
    elif "kind" not in node and len(kinds) > 1:
        yield KIND, f"{key}.kind is missing; {allowed}."
    for name, value in node.items():
        further, here = keys.below(models, node, name), (*path, str(name))
        if further:
            yield from _walk(further, value, here, tree)
        elif further is None or (isinstance(value, dict) and value):
            yield UNKNOWN, _unknown(here, value, tree)
        elif not _is_plain(value):
            wanted = "a finite number" if isinstance(value, float) else "one plain value or a list of them"
            yield ODD, f"{'.'.join(here)}={shown(value)} is not valid: it must be {wanted}."
    for model in keys.chosen(models, node)[:1]:
        for name in (n for n, field in model.model_fields.items() if field.is_required() and n not in node):
            if further := keys.below(models, node, name):
                yield from _walk(further, {}, (*path, name), tree)
            else:
                full = ".".join((*path, name))
                yield MISSING, f"{full} is missing; set it in the preset or with {full}=..."


def _unknown(path: tuple[str, ...], value: Any, tree: Any) -> str:
    """What is said of a key that is not there, by way of the first value below it."""
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        path = (*path, str(name))
    start = f"Unknown key {shown('.'.join(path))}: "
    if "." in "".join(path):
        return f"{start}in a file, write the parts of a dotted key as nested mappings."
    depth = max(i for i in range(min(len(path), DEEPEST)) if keys.at(path[:i], tree)[0])
    (models, node), leaf, parent = keys.at(path[:depth], tree), path[depth], "".join(f"{p}." for p in path[:depth])
    valid = keys.valid(tree)
    here = {name: f"{parent}{name}" for name in keys.names(models, node)}
    if leaf not in here and (others := [kind for kind, model in models.items() if kind and leaf in model.model_fields]):
        return f"{start}{parent}kind={node['kind']} has no {leaf}; {parent}kind={' or '.join(others)} has."
    if path[depth + 1 :] and (close := difflib.get_close_matches(".".join(path)[:LONGEST], valid, n=1)):
        return f"{start}did you mean {close[0]}?"
    if close := difflib.get_close_matches(leaf, here, n=1):
        return f"{start}did you mean {here[close[0]]}?"
    if same := [key for key in valid if key.rpartition(".")[2] == leaf and leaf != "kind"]:
        return f"{start}did you mean {' or '.join(same)}?"
    return f"{start}the keys {f'of {parent[:-1]} ' if parent else ''}are {', '.join(here)}."


def _place(location: Sequence[int | str], tree: Any) -> tuple[str, Any, bool]:
    """The dotted key of pydantic's location, the value there, and whether the mistake is inside a list."""
    path: list[str] = []
    node = tree
    for i, part in enumerate(location):
        if not isinstance(node, dict):
            return ".".join(path), node, isinstance(node, list) and isinstance(location[i], int)
        # pydantic names the variant inside the location; the dotted key does not.
        if part in node or part != node.get("kind"):
            path.append(str(part))
            node = node.get(str(part))
    return ".".join(path), node, False


def _is_plain(value: Any, depth: int = DEEPEST) -> bool:
    """Whether JSON can hold the value."""
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(part, depth - 1) for part in value)
    if isinstance(value, str):
        return value.isascii() or value.encode(errors="replace").decode() == value
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
