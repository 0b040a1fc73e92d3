"""A page of HTML, whole in one file: one style for a wide screen, a phone and paper; no script, nothing fetched."""

import base64
import html
from collections.abc import Iterable

STYLE = """
:root { --ink: #1f2933; --soft: #52606d; --line: #e4e7eb; --pale: #f5f7fa; --accent: #0072b2 }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; overflow-wrap: break-word }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; margin: 0 0 .5rem }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.75rem 0 .25rem }
a { color: var(--accent) }
code, pre { font-family: ui-monospace, monospace; font-size: .85em }
code { overflow-wrap: anywhere }
pre { background: var(--pale); padding: .7rem; white-space: pre-wrap; overflow-wrap: anywhere }
nav { font-size: .87rem; color: var(--soft) } nav a { margin-right: 1rem; white-space: nowrap }
.number { font-size: 1.25rem; margin: .25rem 0 } .number b { font-size: 2rem; white-space: nowrap }
.how, figcaption, figcaption p { color: var(--soft); font-size: .87rem; margin: .35rem 0 }
.top { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start }
.top > div { flex: 1 1 20rem; min-width: 0 } .top figure { flex: 0 1 18rem; margin: 0 }
.wide, table { max-width: 100%; overflow-x: auto } table { display: block }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums }
caption { display: block; position: sticky; left: 0; text-align: left; font-weight: 600; padding: .25rem 0 }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
thead th { color: var(--soft); font-weight: 600 } tbody th { font-weight: 400 }
td { overflow-wrap: anywhere } tr:has(td:nth-of-type(3)) > * { white-space: nowrap }
tr.best td { font-weight: 600 } tr.baseline td { background: var(--pale) }
figure { margin: 1rem 0 1.5rem } img { max-width: 100%; height: auto; display: block }
.pixels { image-rendering: pixelated; width: 100% }
details summary { cursor: pointer; color: var(--accent); margin: .75rem 0 }
@media (max-width: 40rem) { body { margin: 1rem auto; font-size: 16px } .number b { font-size: 1.6rem }
  img:not(.pixels) { max-width: none; width: 42rem } }
@media print {
  @page { margin: 15mm }
  body { margin: 0; padding: 0; max-width: none; font-size: 10pt } nav, summary { display: none }
  caption { display: table-caption }
  table { display: table; overflow: visible; font-size: 7.5pt }
  tr > *, tr:has(td:nth-of-type(3)) > * { white-space: normal; overflow-wrap: break-word; padding-right: .4rem }
  figure, tr, pre { break-inside: avoid } figure:has(table) { break-inside: auto }
  h2, h3, caption { break-after: avoid }
}
"""


def page(title: str, body: Iterable[str]) -> str:
    """The whole page around pieces of HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def picture(png: bytes, alt: str, caption: str, *, pixels: bool = False) -> str:
    """A figure with its caption; one of `pixels` is enlarged without smoothing."""
    data = base64.b64encode(png).decode("ascii")
    kind = ' class="pixels"' if pixels else ""
    image = f'<img{kind} alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
    return f'<figure>\n<div class="wide">{image}</div>\n<figcaption>{html.escape(caption)}</figcaption>\n</figure>'
