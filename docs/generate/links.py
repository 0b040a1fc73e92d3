"""Links between Markdown pages as they are on the site, from those in the repository."""

import posixpath
import re

OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks/index.md",
} | {
    f"benchmarks/results/{name}.md": f"benchmarks/{name}.md"
    for name in ("ingest", "ndm_step", "ode_likelihood", "search", "train")
}
"""Pages that are not in docs/ -> their names on the site."""
SOURCES = {uri: source for source, uri in OUTSIDE.items()}
LINK = re.compile(r"(!?)\[([^\]\n]*)\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")
ON_SITE = (".md", ".png", ".svg", ".html")


def turned(markdown: str, uri: str) -> str:
    """A page's text with each link turned to where its target is on the site; `uri` is the page's own name there."""
    source = SOURCES.get(uri, f"docs/{uri}")

    def turn(found: re.Match[str]) -> str:
        picture, text, target, place = found[1], found[2], found[3], found[4] or ""
        if not target:
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        there = OUTSIDE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if there is None or not there.endswith(ON_SITE):
            return text
        return f"{picture}[{text}]({posixpath.relpath(there, posixpath.dirname(uri) or '.')}{place})"

    return LINK.sub(turn, markdown)
