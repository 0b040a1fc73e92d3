"""Whether an environment is the one that constraints.txt names: asked of the node on which a job finds itself."""

import re
from pathlib import Path


def pins(text: str) -> dict[str, str]:
    """Versions by normalised name. ValueError for a line that pins nothing."""
    lines = filter(None, (line.partition("#")[0].strip() for line in text.splitlines()))
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+]+)", line) for line in lines]
    if None in found:
        raise ValueError("constraints.txt has a line that is no name==version")
    return {normal(match[1]): match[2] for match in found if match}


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def public(text: str) -> str:
    """A version without what tells one build of it from another."""
    return text.partition("+")[0]


def differing(constraints: Path) -> list[str]:
    """The packages that are installed in another version than the file has, each as "torch 2.12.0, not 2.13.0"."""
    from importlib.metadata import PackageNotFoundError, version  # late: the command line is quick to start

    said: list[str] = []
    for name, pinned in pins(constraints.read_text()).items():
        try:
            here = public(version(name))
        except PackageNotFoundError:
            continue  # tools of development are not on every node
        if here != pinned:
            said.append(f"{name} {here}, not {pinned}")
    return said
