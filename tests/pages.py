"""Reads the commands and code out of the documentation."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = (
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md"),
    *sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").rglob("*.md")),
)
"""Every page that is written by hand, or by a script and committed."""


class Page:
    """A Markdown page: its fenced blocks by language ("" for shell commands)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path: Path = REPOSITORY / name
        self.text = self.path.read_text()
        self.blocks = FENCE.findall(self.text)

    @property
    def commands(self) -> list[str]:
        return [line for language, block in self.blocks if not language for line in block.splitlines() if line]

    @property
    def shown(self) -> list[str]:
        """Lines of a block of text that are commands, too: those that need data of the reader's."""
        lines = [line for language, block in self.blocks if language == "text" for line in block.splitlines()]
        return [line for line in lines if line.startswith("ndm ")]

    @property
    def table(self) -> str:
        """The only block of text, which is what a command ends with."""
        (found,) = [block for language, block in self.blocks if language == "text"]
        return found

    @property
    def yaml(self) -> list[str]:
        return [block for language, block in self.blocks if language == "yaml"]

    @property
    def python(self) -> list[str]:
        return [block for language, block in self.blocks if language == "python"]
