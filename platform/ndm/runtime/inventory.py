"""The runs of a folder and of a store: which there are, what they reached, what goes when one is removed."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndm.errors import UserError
from ndm.filters import asked, fits
from ndm.mistakes import hint, shown
from ndm.runs import RunFolder, about, folders, searches
from ndm.runtime.shelf import Shelf


@dataclass(frozen=True)
class Found:
    """A run or a search, here, in the store, or both."""

    name: str
    about: Mapping[str, Any]
    here: bool
    in_store: bool

    def line(self) -> str:
        """What it is, in a line of a list."""
        where = " and ".join(filter(None, ["here" * self.here, "in the store" * self.in_store]))
        if self.about["kind"] == "search":
            return f"search, {where}"
        keys = self.about["experiment"]
        parts = [keys["data.kind"], keys["transform.kind"], f"{keys['training.examples']:,} examples", where]
        if not self.about["finished"]:
            return ", ".join([*parts, "not finished"])
        return ", ".join([bits(score) for score in self.about["scores"]] + parts)


def bits(score: Mapping[str, Any]) -> str:
    """A score with its error and its recipe."""
    value = score["bits_per_dim"]
    return f"{value['value']:.4f} +- {value['error']:.4f} bits/dim ({score['split']}, {score['estimator']})"


def inventory(root: Path, shelf: Shelf | None, filters: Sequence[str] = ()) -> list[Found]:
    """Runs and searches by name, those for which all `filters` hold: dotted keys of the experiment, as key=value.

    `data` stands for data.kind, as do the names of the other sections.

    Raises:
        UserError: a filter is not of that form or its key is none, or the store does not answer.
    """
    here = {folder.name: about(folder) for folder in (*folders(root), *searches(root))}
    there = {name: listing.about for name, listing in shelf.listings().items()} if shelf else {}
    names = sorted({*here, *there})
    found = [Found(name, here.get(name) or there[name], name in here, name in there) for name in names]
    wanted = asked(filters, (one.about for one in found))
    return [one for one in found if fits(one.about, wanted)]


def find(known: Sequence[Found], name: str) -> Found:
    """The one of that name. UserError if there is none."""
    for one in known:
        if one.name == name:
            return one
    raise UserError(f"There is no run {shown(name)}: {hint(name, [one.name for one in known], 'runs')}")


def trials(known: Sequence[Found], found: Found) -> list[Found]:
    """The runs of a search; none for a run."""
    if found.about["kind"] != "search":
        return []
    return [one for one in known if search_of(one.name) == found.name]


def search_of(name: str) -> str | None:
    """The search that a run of this name would be a trial of."""
    search, _, number = name.rpartition("-")
    return search if search and number.isdecimal() and len(number) >= 3 else None


def check_removable(known: Sequence[Found], found: Found) -> None:
    """UserError if a search needs the run."""
    search = search_of(found.name)
    if search and any(one.name == search and one.about["kind"] == "search" for one in known):
        raise UserError(f"{found.name} is a trial of the search {search}, which would miss it: remove {search}.")


def remove(root: Path, name: str) -> None:
    """Delete the folder of a run. UserError if it is in use."""
    folder = RunFolder(root / name)
    with folder.lock():
        shutil.rmtree(folder.path)
