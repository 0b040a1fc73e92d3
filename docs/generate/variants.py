"""A page for each variant of each family, from its file: equation, source, keys, cost, contract, code."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import costs
import griffe
import typeset

from ndm import registry

ROOT = Path(__file__).resolve().parents[2]
INDEX = "variants/index.md"


class Family(NamedTuple):
    """A folder of variants."""

    key: str
    """Of an experiment or a search; that of the decoders is chosen by the data, and has no `kind`."""
    package: str
    contract: str
    """The file of tests that every variant is held to, below tests/."""

    @property
    def title(self) -> str:
        """Of its section."""
        return self.package.rpartition(".")[2].capitalize()

    def uri(self, kind: str) -> str:
        """The page of a variant."""
        return f"variants/{self.package.rpartition('.')[2]}/{kind}.md"


FAMILIES = (
    Family("transform", "ndm.transforms", "contract/test_transforms.py"),
    Family("schedule", "ndm.schedules", "contract/test_schedules.py"),
    Family("volatility", "ndm.volatilities", "contract/test_volatilities.py"),
    Family("process", "ndm.processes", "exact/test_process.py"),
    Family("network", "ndm.networks", "contract/test_networks.py"),
    Family("head", "ndm.heads", "contract/test_heads.py"),
    Family("decoder", "ndm.decoders", "unit/test_decoders.py"),
    Family("objective", "ndm.objectives", "exact/test_gaussian_bound.py"),
    Family("sampler", "ndm.sampling", "contract/test_samplers.py"),
    Family("data", "ndm.data.sources", "unit/test_sources.py"),
    Family("searcher", "ndm.search.searchers", "unit/test_course.py"),
    Family("pruner", "ndm.search.pruners", "unit/test_pruners.py"),
)


def navigation() -> list[Any]:
    """The section of the variants, for mkdocs."""
    sections = [
        {family.title: [{kind: family.uri(kind)} for kind in registry.kinds(family.package)]} for family in FAMILIES
    ]
    return [INDEX, *sections]


def pages() -> Iterator[tuple[str, str]]:
    """(name on the site, Markdown) of every page."""
    yield INDEX, index()
    for family in FAMILIES:
        for kind in registry.kinds(family.package):
            yield family.uri(kind), page(family, kind)


def index() -> str:
    """All variants with the first sentence of each."""
    parts = [
        "# Variants",
        "Every part of an experiment is one of these. Each is one file, found by its name; "
        "[your own](../tutorials/first-transform.md) is one more. These pages are made from the files.",
    ]
    for family in FAMILIES:
        parts.append(f"## {family.title}")
        rows = [
            f"| [`{kind}`]({family.uri(kind).removeprefix('variants/')}) | {_first(family, kind)} |"
            for kind in registry.kinds(family.package)
        ]
        parts.append("\n".join([f"| `{family.key}.kind` | |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _first(family: Family, kind: str) -> str:
    return " ".join(typeset.paragraphs(_docstring(family, kind))[0].split())


def page(family: Family, kind: str) -> str:
    """One variant."""
    first, *others = typeset.paragraphs(_docstring(family, kind))
    equation = "\n".join(f"> {line}" for line in first.splitlines())
    parts = [f"# {kind}", _chosen(family, kind), equation, *others]
    if rows := _keys(family, kind):
        parts += ["## Keys", "\n".join(["| key | type | default | |", "|---|---|---|---|", *rows])]
    if cost := costs.of(family.key, kind):
        parts += ["## Cost", cost]
    parts += ["## Contract", _contract(family)]
    path = _path(family, kind)
    code = "\n".join(f"    {line}".rstrip() for line in path.read_text().splitlines())
    parts += ["## Code", f'??? note "`{path.relative_to(ROOT)}`"\n\n    ```python\n{code}\n    ```']
    return "\n\n".join(parts) + "\n"


def _chosen(family: Family, kind: str) -> str:
    if family.key == "decoder":
        return "A decoder. The data choose it: their levels are in the manifest."
    if family.key in ("searcher", "pruner"):
        return f"A {family.key}. Key of a search: `{family.key}.kind={kind}`"
    article = {"objective": "An objective", "data": "A data set"}.get(family.key, f"A {family.key}")
    return f"{article}. Key of an experiment: `{family.key}.kind={kind}`"


def _path(family: Family, kind: str) -> Path:
    return ROOT / "platform" / family.package.replace(".", "/") / f"{kind}.py"


def _docstring(family: Family, kind: str) -> str:
    return import_module(f"{family.package}.{kind}").__doc__ or ""


@cache
def _documented() -> griffe.Object:
    return griffe.load("ndm", search_paths=[ROOT / "platform"])  # type: ignore[return-value]


def _keys(family: Family, kind: str) -> list[str]:
    """A row for each field of its Config but `kind`."""
    config = getattr(import_module(f"{family.package}.{kind}"), "Config", None)
    if config is None:
        return []
    members = _documented()[f"{family.package.removeprefix('ndm.')}.{kind}.Config"].all_members
    rows: list[str] = []
    for name, field in config.model_fields.items():
        if name != "kind":
            member = members[name]
            said = typeset.inline(" ".join(member.docstring.value.split())) if member.docstring else ""
            default = "" if field.is_required() else f"`{_value(field.get_default(call_default_factory=True))}`"
            annotation = str(member.annotation).replace("|", "\\|")
            rows.append(f"| `{family.key}.{name}` | `{annotation}` | {default} | {said} |")
    return rows


def _value(value: Any) -> str:
    return "null" if value is None else str(value)


def _contract(family: Family) -> str:
    """The names of the tests in words; a test's docstring says more."""
    tree = ast.parse((ROOT / "tests" / family.contract).read_text())
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    rows: list[str] = []
    for test in tests:
        more = ast.get_docstring(test)
        words = test.name.removeprefix("test_").replace("_", " ")
        rows.append(f"- {words}" + (f": {typeset.inline(' '.join(more.split()))}" if more else ""))
    return f"`tests/{family.contract}` holds it to:\n\n" + "\n".join(rows)
