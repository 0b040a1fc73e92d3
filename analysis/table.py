"""A table of texts, and the forms that it is wanted in: a terminal, CSV, Markdown, LaTeX, HTML."""

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "−": "$-$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; `notes` say how the numbers were made. The first column names the rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), self.title

    def text(self) -> str:
        """For a terminal, in columns of equal width."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        body = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([self.title, "", body[0], "  ".join("-" * w for w in widths), *body[1:], "", *self.notes])

    def csv(self) -> str:
        """Comma-separated values, one line a row, without the notes."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.columns, *self.rows])
        return out.getvalue()

    def markdown(self) -> str:
        """A section with a heading."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
        return "\n".join([f"## {self.title}", "", *body, "", *self.notes]).rstrip() + "\n"

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


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
