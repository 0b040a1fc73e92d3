"""A figure with its caption, in the one style that all figures have, as PNG and SVG."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

INK, PALE = "#1f2933", "#9fb3c8"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""For lines side by side: told apart by colour-blind readers (Okabe and Ito, 2008)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""In the same order, for those who see none, and for print."""
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "ndm",
}
styled = rc_context(STYLE)
"""Decorates a function that draws, so that its legends and colour bars are in the style as well."""


@dataclass(frozen=True)
class Picture:
    """A figure; `caption` says in a few sentences what is seen and how its numbers were made."""

    name: str
    """Of its files, and as a heading with its dashes as spaces."""
    figure: Figure
    caption: str

    def save(self, folder: Path) -> list[Path]:
        """Written as NAME.png and NAME.svg; equal pictures make equal files."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.png", folder / f"{self.name}.svg"]
        with rc_context(STYLE):
            self.figure.savefig(paths[0], dpi=150, metadata={"Software": None})
            self.figure.savefig(paths[1], metadata={"Date": None})
        return paths


def canvas(
    rows: int = 1, columns: int = 1, *, size: Sequence[float] = (4.5, 3.2), **options: Any
) -> tuple[Figure, Any]:
    """(figure, axes [rows, columns]) of so many inches a panel, in the style; `options` as of Figure.subplots."""
    with rc_context(STYLE):
        figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, **options)


def reasons(failures: Mapping[str, str]) -> Iterator[str]:
    """For a caption: the names that have the same reason, with it."""
    for why in dict.fromkeys(failures.values()):
        yield f"{', '.join(name for name, own in failures.items() if own == why)}: {why}"


def look(place: int) -> dict[str, Any]:
    """The colour and the marker of a line among others, as keywords for matplotlib; the first 49 all differ."""
    n = len(COLOURS)
    return {"color": COLOURS[place % n], "marker": MARKERS[(place + place // n) % n]}
