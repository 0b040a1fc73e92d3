"""A table of texts, and the forms that it is wanted in: a terminal, CSV, Markdown, LaTeX, HTML."""

import csv
import html
import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ndm.likelihood.statistics import Mean

WIDTH = 120
"""Characters of a terminal's line."""
LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "−": "$-$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; `notes` say how the numbers were made. The first `keys` columns name the rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default=())
    keys: int = 1

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), self.title

    def text(self, width: int = WIDTH) -> str:
        """For a terminal: where lines are too long, columns go on below, beside those that name the rows."""
        parts = [part for chosen in self._folded(width) for part in ("", *self._lines(chosen))]
        notes = [textwrap.fill(note, width) for note in self.notes]
        return "\n".join([self.title, *(parts if self.rows else []), "", *notes])

    def _folded(self, width: int) -> Iterator[list[int]]:
        """Numbers of the columns that stand side by side."""
        widths, keys = self._widths(), list(range(self.keys))
        chosen = list(keys)
        for i in range(self.keys, len(widths)):
            if len(chosen) > self.keys and sum(widths[j] + 2 for j in chosen) + widths[i] > width:
                yield chosen
                chosen = list(keys)
            chosen.append(i)
        yield chosen

    def _lines(self, chosen: Sequence[int]) -> Iterator[str]:
        widths = self._widths()
        for line in (self.columns, ["-" * width for width in widths], *self.rows):
            yield "  ".join(line[i].ljust(widths[i]) for i in chosen).rstrip()

    def _widths(self) -> list[int]:
        return [max(len(line[i]) for line in (self.columns, *self.rows)) for i in range(len(self.columns))]

    def csv(self) -> str:
        """Comma-separated values, one line a row, without the notes."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.columns, *self.rows])
        return out.getvalue()

    def markdown(self, level: int = 2) -> str:
        """A section with a heading of that level."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
        notes = [part for note in self.notes for part in (note, "")]
        return "\n".join([f"{'#' * level} {self.title}", "", *(body if self.rows else []), "", *notes]).rstrip() + "\n"

    def latex(self) -> str:
        """A tabular of the package booktabs, with the notes as its caption."""
        body = [" & ".join(map(_latex, line)) + r" \\" for line in [self.columns, *self.rows]]
        caption = _latex(" ".join([f"{self.title}.", *self.notes]))
        lines = [r"\begin{table}", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{{'l' * len(self.columns)}}}"]
        return "\n".join(
            [*lines, r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
        )

    def html(self) -> str:
        """A figure with a table, whose caption has the notes; no style of its own."""
        head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in self.columns)
        rows = "\n".join(
            f'<tr><th scope="row">{html.escape(row[0])}</th>'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return (
            f"<figure>\n<table>\n<caption>{html.escape(self.title)}</caption>\n<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{rows}\n</tbody>\n</table>\n<figcaption>{notes}</figcaption>\n</figure>\n"
        )


def plus_minus(mean: Mean, signed: bool = False) -> str:
    """A mean with its standard error, to four digits after the point: 1.8620 ± 0.0181."""
    return f"{mean.value:{'+' if signed else ''}.4f} ± {mean.error:.4f}"


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
