"""What every page has in common: its commands are such, its code is run by a test, its links lead somewhere."""

import ast
import re
import shlex
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from commands import REPOSITORY, here
from pages import PAGES, Page

from ndm import cli, presets
from ndm.data import sources
from ndm.likelihood.estimators import valid_name

CODE = ("python", "yaml")
"""Languages of blocks, and the properties of a page that have them."""
GIVEN = re.compile(r"(\w+) = Page\('(.+)'\)")
FIXTURE = re.compile(r'^def (\w+)\(\) -> Page:\n    return Page\("(.+)"\)$', re.MULTILINE)
COMMAND = re.compile(r"(?:(?:^|-- |ndm:\S+ )ndm|cluster/slurm/ndm\.sbatch) ([a-z]+ .*)$")
"""`ndm VERB ...`, also as an argument of what runs it elsewhere."""
SUBMISSION = {"--address", "--queue", "--detach"}
ON_EXPERIMENTS = ("train", "prepare")
ON_RUNS = ("evaluate", "sample", "export")
FILE = re.compile(r"(?<![\w/.-])((?:cluster|analysis|jobs|tests|benchmarks)/[\w./-]*\w)")


def every() -> list[Page]:
    return [Page(name) for name in PAGES]


def commands() -> list[str]:
    """The distinct `VERB ...` of all pages."""
    pages = [page for page in every() if page.name != "docs/tutorials/first-transform.md"]  # of a kind that it adds
    found = [COMMAND.search(line) for page in pages for line in (*page.commands, *page.shown)]
    return sorted({match[1] for match in found if match})


@cache
def switches_of(verb: str) -> set[str]:
    """What the help of a verb names, and what a submission takes."""
    return {*re.findall(r"(?<!\S)--?\w[\w-]*", here(REPOSITORY, verb, "--help").output)} | SUBMISSION


def short(verb: str) -> dict[str, str]:
    """The short keys of a verb, out of its script."""
    tree = ast.parse((REPOSITORY / "jobs" / f"{verb}.py").read_text())
    found = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "SHORT"]
    return ast.literal_eval(found[0]) if found else {}


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one_that_the_verb_takes(command: str) -> None:
    verb, *words = shlex.split(command)
    assert verb in cli.verbs()
    assert {word for word in words if word.startswith("-")} <= switches_of(verb)
    overrides = [cli.in_full(word, short(verb)) for word in words if "=" in word and not word.startswith("http")]
    if verb not in (*ON_EXPERIMENTS, *ON_RUNS):
        return
    target = words[0].partition("@")[0]
    experiment = target if target in presets.names() else "digits-tiny"
    assert verb in ON_RUNS or experiment == target or target.endswith(".yaml")
    asked = presets.load(experiment, overrides)
    assert all(valid_name(name) for name in asked.evaluation.estimators)
    assert isinstance(asked.data, sources.SourceConfig)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    """Files of the project in its commands, and targets of make."""
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for command in Page(page).commands:
        assert [file for file in FILE.findall(command) if not (REPOSITORY / file).exists()] == []
        if command.startswith("make "):
            assert command.split()[1] in targets


def named(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Which page each name stands for that one of the nodes gives to a page."""
    given = [GIVEN.fullmatch(ast.unparse(node)) for node in nodes if isinstance(node, ast.Assign)]
    return {found[1]: found[2] for found in given if found}


def taken(test: Path) -> set[tuple[str, str]]:
    """(page, language) of the blocks of code that the functions of a file of tests take."""
    fixtures = dict(FIXTURE.findall(Path(__file__).with_name("conftest.py").read_text()))
    tree = ast.parse(test.read_text())
    found: set[tuple[str, str]] = set()
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        arguments = {argument.arg for argument in function.args.args}
        known = {name: page for name, page in fixtures.items() if name in arguments}
        known |= named(tree.body) | named(ast.walk(function))
        read = [node for node in ast.walk(function) if isinstance(node, ast.Attribute) and node.attr in CODE]
        found |= {(known[name], node.attr) for node in read if (name := ast.unparse(node.value)) in known}
    return found


def test_blocks_of_code_are_taken_by_a_test() -> None:
    wanted = {(page.name, language) for page in every() for language in CODE if getattr(page, language)}
    assert len(wanted) >= 6
    tests = [path for path in (REPOSITORY / "tests").rglob("test_*.py") if "Page" in path.read_text()]
    assert wanted - set().union(*map(taken, tests)) == set()


def templates() -> Iterator[str]:
    """Every string of the program, with … where values go in."""
    for folder in ("platform", "jobs", "analysis"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)
                    yield re.sub("…+", "…", parts)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value.replace("%s", "…")


def test_every_sentence_of_the_page_on_mistakes_is_one_of_the_program() -> None:
    wanted = re.findall(r"^### (.*)$", Page("docs/troubleshooting.md").text, re.MULTILINE)
    assert len(wanted) >= 25
    said = list(templates())
    assert [sentence for sentence in wanted if not any(sentence.rstrip("….") in one for one in said)] == []


def generated() -> set[str]:
    """Pages of the site that are made when it is built."""
    import notebooks
    from variants import FAMILIES, INDEX

    from ndm.registry import kinds

    made = {INDEX} | {uri for uri, _ in notebooks.pages()}
    return made | {family.uri(kind) for family in FAMILIES for kind in kinds(family.package)}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path, made = REPOSITORY / page, {REPOSITORY / "docs" / uri for uri in generated()}
    for target in re.findall(r"\]\((?!http)([^)#]+)", Page(page).text):
        there = (path.parent / target).resolve()
        assert there.exists() or there in made, target


def test_the_table_of_the_readme_is_of_the_run_of_its_preset_that_the_results_have() -> None:
    """All but the time, which is of a machine; and that fits the examples."""
    table, name = Page("README.md").table, presets.load("digits-ndm").run_name()
    assert set(re.findall(r"digits-ndm-\w+", Page("README.md").text)) == {name}
    results = "\n".join(line for line in Page("docs/results.md").text.splitlines() if name in line)
    numbers = re.findall(r"\d\.\d{4}\b", table)
    assert len(numbers) == 10
    assert [number for number in numbers if number not in results] == []
    examples = presets.load("digits-ndm").training.examples
    assert f"{examples} examples" in table
    ((minutes, seconds, rate),) = re.findall(r"(\d+) min (\d+) s, (\d+) examples/s", table)
    assert examples / int(rate) == pytest.approx(60 * int(minutes) + int(seconds), abs=1)


def test_the_numbers_of_the_tutorial_are_those_of_the_results() -> None:
    results = Page("docs/results.md").text
    numbers = re.findall(r"\d\.\d{4}\b|\de-\d\d", Page("docs/tutorials/trust-a-likelihood.md").text)
    assert len(numbers) > 12
    assert [number for number in numbers if number not in results] == []
