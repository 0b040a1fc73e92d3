"""What mkdocs calls while it builds the site: pages from outside docs/, of variants and notebooks, links that fit.

The same Markdown is read in the repository and on the site. A page outside of docs/ comes along under another name, and
links are turned to where their pages are there; a link to what is no page, such as a script, becomes its name.
"""

from pathlib import Path
from typing import Any

import links
import notebooks
import variants
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the variants where the navigation has a place for them."""
    assert config.nav is not None
    config.nav = [_filled(entry) for entry in config.nav]
    return config


def _filled(entry: Any) -> Any:
    return {name: variants.navigation() if place == variants.INDEX else place for name, place in entry.items()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for source, uri in links.OUTSIDE.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text()))
    for uri, text in (*variants.pages(), *notebooks.pages()):
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page to where their targets are on the site."""
    del config, files
    return links.turned(markdown, page.file.src_uri)
