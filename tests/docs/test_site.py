"""`make docs`: the site builds strictly and without a network, asks for nothing elsewhere, and has every variant."""

import re
import socket
from html.parser import HTMLParser
from pathlib import Path

import pytest
from commands import REPOSITORY

from ndm import registry

COUNTED = ("transform", "schedule", "network", "head", "objective", "sampler")
"""Families whose pages have a section on cost."""
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""What a browser asks for without being told to."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    def refused(*address: object) -> None:
        raise OSError(f"the build asks for {address}")

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.setattr(socket.socket, "connect", refused)
        patch.setattr(socket, "getaddrinfo", refused)
        build(load_config(str(REPOSITORY / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


class Asked(HTMLParser):
    """The addresses that a page fetches."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(FETCHED.get(tag, ""))
        if address and dict(attrs).get("rel") not in ("next", "prev", "canonical"):
            self.found.append(address)


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 80
    for page in pages:
        asked = Asked(page.read_text()).found
        assert asked, page
        assert [address for address in asked if re.match(r"(\w+:)?//", address)] == [], page
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert not re.search(r"url\([\"']?https?:|@import", sheet.read_text()), sheet


def test_every_variant_has_a_page_with_its_equation(site: Path) -> None:
    from variants import FAMILIES

    for family in FAMILIES:
        for kind in registry.kinds(family.package):
            text = (site / family.uri(kind)).with_suffix(".html").read_text()
            assert re.search(rf"<h1[^>]*>{kind}<", text)
            assert "<blockquote>" in text
            assert 'id="contract"' in text
            assert ('id="cost"' in text) is (family.key in COUNTED)


def test_the_reference_has_what_programs_rely_on(site: Path) -> None:
    import ndm

    text = (site / "reference/ndm.html").read_text()
    for name in ndm.LAZY:
        assert f'id="ndm.pretrained.{name}"' in text
    assert "examples that it has seen" in text


@pytest.mark.parametrize(
    ("plain", "made"),
    [
        (
            "q(z_t | x) = N(alpha_t F, sigma_t^2 I)",
            "q(z<sub>t</sub> \\| x) = N(α<sub>t</sub> F, σ<sub>t</sub><sup>2</sup> I)",
        ),
        ("gamma_min stays, gamma does not", "gamma_min stays, γ does not"),
        ("x: [B, *shape] and `alpha_t * x`", "x: \\[B, \\*shape] and `alpha_t * x`"),
        ("Lipman et al. (arXiv 2210.02747)", "Lipman et al. ([arXiv 2210.02747](https://arxiv.org/abs/2210.02747))"),
        ("`volatility.eta` is eta", "`volatility.eta` is η"),
        ("x_hat of net_1(x) and d_alpha", "x\u0302 of net_1(x) and d_alpha"),
    ],
)
def test_plain_mathematics_is_set(plain: str, made: str) -> None:
    import typeset

    assert typeset.inline(plain) == made


@pytest.mark.parametrize(
    ("markdown", "uri", "turned"),
    [
        ("[a](docs/api.md#x)", "index.md", "[a](api.md#x)"),
        ("[a](../CONTRIBUTING.md)", "architecture.md", "[a](contributing.md)"),
        ("[a](../../README.md)", "cluster/jobs.md", "[a](../index.md)"),
        ("[a](../cluster/local/__main__.py)", "api.md", "a"),
        ("![a](images/a.png)", "api.md", "![a](images/a.png)"),
        ("[a](https://arxiv.org/abs/1) and [b](#b)", "api.md", "[a](https://arxiv.org/abs/1) and [b](#b)"),
    ],
)
def test_links_are_turned_to_where_pages_are_on_the_site(markdown: str, uri: str, turned: str) -> None:
    import links

    assert links.turned(markdown, uri) == turned
