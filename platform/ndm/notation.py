"""The YAML that experiments are written in: plain values of the core schema of YAML 1.2, read and written.

1e-3 is a number, and on, 010, 1:30 and 2024-01-01 are text, where YAML 1.1 sees true, 8, 90 and a date. A key that is
there twice is a mistake. Tags (`!name`) and references (`*name`) are refused: a file can hold data and nothing else.
"""

import json
import math
import re
from typing import Any

import yaml

SCALARS = {  # in the order in which they are tried; the rest is text
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9_]*)", list("-+0123456789")),
    "float": (r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", list("-+.0123456789")),
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(None, None, "tags (!name) and references (*name) are not read", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(None, None, "a list or mapping is no key", key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key.value} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, (_pattern, _first) in SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first)


def read(text: str) -> Any:
    """The value that a text in this notation holds.

    Raises:
        ValueError: what is wrong with it, in a few words, with the line where there are several.
    """
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark and "\n" in text else ""
        raise ValueError(f"{' '.join(str(error.problem).split())}{line}") from None
    except yaml.YAMLError:
        raise ValueError("it contains a character that is not text") from None
    except ValueError:
        raise ValueError("a number in it is too long") from None


def write(tree: Any) -> str:
    """A tree of plain values as text that `read` turns into an equal tree."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False)


def typed(value: Any) -> str:
    """A leaf of a tree as it is typed behind `key=`: on one line, that `read` turns into an equal value.

    Args:
        value: text, a number, true, false or null (None), or a list of these.
    """
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(_quoted(part) if isinstance(part, str) else typed(part) for part in value)}]"
    return json.dumps(value)


def _is_plain(text: str) -> bool:
    """Whether it needs no quotes to be read as text."""
    try:
        return read(text) == text
    except ValueError:
        return False


def _quoted(text: str) -> str:
    return yaml.dump(text, Dumper=_Dumper, default_style='"', width=math.inf).removesuffix("\n")
