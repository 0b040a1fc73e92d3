"""Tables together, in the form that is asked for: on a terminal, or as a file of CSV, Markdown, LaTeX or HTML."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from analysis.table import Table
from ndm import page as pages
from ndm.errors import UserError
from ndm.mistakes import shown

Form = Callable[[Sequence[Table]], str]


def text(tables: Sequence[Table]) -> str:
    """For a terminal."""
    return "\n\n\n".join(table.text() for table in tables) + "\n"


def csv(tables: Sequence[Table]) -> str:
    """A line with each table's title, its header and rows, an empty line between two tables."""
    return "\n".join(Table("", [table.title], []).csv() + table.csv() for table in tables)


def markdown(tables: Sequence[Table]) -> str:
    """A section a table."""
    return "\n".join(table.markdown() for table in tables)


def latex(tables: Sequence[Table]) -> str:
    """To be included by a document that uses booktabs."""
    return "\n".join(table.latex() for table in tables)


def page(tables: Sequence[Table]) -> str:
    """A page of HTML that needs nothing else."""
    return pages.page(tables[0].title, (table.html() for table in tables))


FORMS: Mapping[str, Form] = {"text": text, "csv": csv, "md": markdown, "tex": latex, "html": page}
"""By the ending of a file; text is that of a terminal."""


def form_of(out: Path | None, asked: str | None = None) -> Form:
    """The form that is asked for by name, else by the ending of a file's name, else text.

    Raises:
        UserError: there is no such form.
    """
    name = asked or (out.suffix.removeprefix(".") if out else "text")
    if name not in FORMS:
        wanted = f"--format {shown(name)}" if asked or not out else f"--out {shown(out.name)}"
        files = ", ".join(f".{each}" for each in FORMS if each != "text")
        raise UserError(f"{wanted} is no form of a table: end the file in {files}, or give one of them as --format.")
    return FORMS[name]
