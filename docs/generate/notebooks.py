"""Notebooks as pages: Python files in the percent form, whose `# %% [markdown]` cells are text and the others code."""

import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)


def cells(text: str) -> Iterator[tuple[bool, str]]:
    """(whether it is text, content) of each cell, in order."""
    _, *parts = CELL.split(text)
    for kind, content in zip(parts[::2], parts[1::2], strict=True):
        prose = "[markdown]" in kind
        yield prose, re.sub(r"^# ?", "", content, flags=re.MULTILINE).strip() if prose else content.strip()


def pages() -> Iterator[tuple[str, str]]:
    """(name on the site, Markdown) of each notebook."""
    for path in sorted(FOLDER.glob("*.py")):
        shown = [text if prose else f"```python\n{text}\n```" for prose, text in cells(path.read_text())]
        yield f"notebooks/{path.stem.replace('_', '-')}.md", "\n\n".join(shown) + "\n"
