"""One figure a file. `draw` takes a run, or several, and gives a Picture, or None where it does not apply to them.

A figure that needs something which a run does not have raises a UserError that says how to make it. Nothing is listed:
a figure of one run calls its argument `run`, one of several `runs`, the baseline first.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from analysis.picture import Picture
from analysis.run import Run

COSTLY = frozenset({"bound_by_steps", "quality_by_nfe", "solver"})
"""Those that take new scores or new samples: minutes, not seconds."""


class Wanted(NamedTuple):
    """A figure that is yet to be drawn."""

    name: str
    draw: Callable[[], Picture | None]
    costly: bool


def of(runs: Sequence[Run]) -> list[Wanted]:
    """Every figure of the first run and of all of them together, by name."""
    found: list[Wanted] = []
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        several = "runs" in inspect.signature(module.draw).parameters
        draw = partial(module.draw, runs if several else runs[0])
        found.append(Wanted(name, draw, name in COSTLY))
    return found
