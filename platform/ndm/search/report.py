"""The report of a search: one HTML page that needs nothing else, its figures, and the same in MLflow."""

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ndm import notation, page
from ndm.likelihood.statistics import Mean
from ndm.search.course import Course
from ndm.search.figures import draw
from ndm.search.findings import SIGNIFICANT, Findings, Line, findings
from ndm.search.plan import BASELINE
from ndm.terminal import Terminal, duration


def write(course: Course, folder: Path) -> tuple[Path, Findings]:
    """`report.html` and its figures in `folder`; returns the page and what is in it."""
    found = findings(course)
    pictures = draw(found, folder / "figures")
    file = folder / "report.html"
    file.write_text(page.page(f"Search {course.plan.search.name}", _body(course, found, pictures)), encoding="utf-8")
    return file, found


def rows(found: Findings) -> list[tuple[str, ...]]:
    """The ranking as text, a header first."""
    head = ("point", "status", "rung", "bits/dim", "over the best", "over the baseline", "FLOPs a step", "parameters")
    return [
        head,
        *((*_named(line), *_compared(line), f"{line.flops_ratio:.2f}", f"{line.parameters:,}") for line in found.lines),
    ]


def show(course: Course, found: Findings, file: Path, terminal: Terminal) -> None:
    """The ranking on the terminal."""
    cells = [(line[0], line[1], *line[3:6], line[6]) for line in rows(found)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    terminal.say("")
    for line in cells:
        terminal.say("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    terminal.say(f"\n{summary(course, found)}")
    if found.retrain:
        terminal.say(f"Train it with the experiment's own examples: {found.retrain}")
    terminal.say(f"Report: {file}\n")


def summary(course: Course, found: Findings) -> str:
    """The result in a few sentences."""
    search, first = course.plan.search, found.lines[0]
    if first.bits is None:
        return "Nothing has been reached yet."
    said = [f"Best: {first.label}, {_mean(first.bits)} bits/dim on the validation images (rung {first.rung + 1})."]
    ties = [line.label for line in found.lines[1:] if line.over_best is not None and not line.loses]
    if ties:
        said.append(
            f"Not significantly worse ({SIGNIFICANT:g} standard errors of the paired difference): {'; '.join(ties)}."
        )
    if first.over_baseline is not None:
        better = -first.over_baseline.value > SIGNIFICANT * first.over_baseline.error
        verb = "beats" if better else "does not significantly beat"
        said.append(f"It {verb} the baseline at that rung: {_signed(first.over_baseline)} bits/dim.")
    share, scored = found.spent / found.full, sum(line.rung >= 0 for line in found.lines)
    said.append(
        f"{scored} of {len(found.lines)} points were scored with {share:.0%} of the "
        f"compute that all of them to the end would take, seed(s) {', '.join(map(str, search.seeds))}."
    )
    return " ".join(said)


def _body(course: Course, found: Findings, pictures: dict[str, Path]) -> Iterable[str]:
    search = course.plan.search
    yield f"<h1>Search {html.escape(search.name)}</h1><p>{html.escape(summary(course, found))}</p>"
    yield "<h2>Ranking</h2>" + _table(rows(found), found.lines)
    yield f"<p class=how>{html.escape(how(course))}</p>"
    for caption, file in pictures.items():
        yield page.picture(file.read_bytes(), file.stem, f"{caption}.")
    if found.importance:
        shares = [(key, f"{share:.0%}", str(points)) for key, (share, points) in found.importance.items()]
        yield "<h2>What each key matters</h2>" + _table(
            [
                ("key", "share of the variance", "points"),
                *shares,
            ]
        )
        yield "<p class=how>Of the bits at the first rung, by means of groups for choices and a parabola for numbers; "
        yield "a main effect alone, and with few points an overestimate.</p>"
    yield "<h2>Cost</h2>" + _table(_cost(found))
    if found.retrain:
        yield "<h2>Train the best with the experiment's own examples</h2>"
        yield f"<pre>{html.escape(found.retrain)}</pre>"
    yield f"<h2>The search</h2><pre>{html.escape(notation.write(search.model_dump(mode='json')))}</pre>"


def how(course: Course) -> str:
    """How its numbers were made, in a few sentences."""
    search, rungs = course.plan.search, course.plan.search.pruner.shares()
    made = next((rung.made for trial in course.trials for rung in course.rungs(trial)), None)
    data = f" of {made['data']['name']} {made['data']['version']} (hash {made['data']['hash'][:12]})" if made else ""
    images = made["images"] if made else search.score.images
    draws = made.get("draws", search.score.draws) if made else search.score.draws
    parts = [
        f"Bits/dim are {search.score.estimator} with {draws} draws on the first {images} validation "
        f"images{data}, the same noise for all (seed {search.score.seed}); +- is a standard error over images, of a "
        "difference over paired images. It holds nothing of what another seed of the training would change",
        f"; {len(search.seeds)} seeds are averaged" if len(search.seeds) > 1 else "",
        f". Rungs are at {', '.join(f'{share:.3g}' for share in rungs)} of the FLOPs that the baseline spends on "
        f"{search.examples} examples; differences are to points at the same rung. The best of several is better on "
        "these images than on others: take the test split of the retrained winner for a number.",
    ]
    return "".join(parts)


def _cost(found: Findings) -> list[tuple[str, str]]:
    total = sum(line.seconds for line in found.lines)
    return [
        ("what", "how much"),
        ("compute", f"{found.spent:.3e} FLOPs, {found.spent / found.full:.0%} of all points to the end"),
        ("workers' time", duration(total)),
        ("  on points that lost", duration(found.lost_seconds)),
    ]


def _named(line: Line) -> tuple[str, str, str]:
    return line.label, line.status, str(line.rung + 1) if line.rung >= 0 else "-"


def _compared(line: Line) -> tuple[str, str, str]:
    seeds = f", seeds +- {line.over_seeds:.4f}" if line.over_seeds is not None else ""
    own = f"{_mean(line.bits)}{seeds}" if line.bits else "-"
    best, baseline = (_signed(over) if over else "-" for over in (line.over_best, line.over_baseline))
    return own, best, baseline


def _mean(value: Mean) -> str:
    return f"{value.value:.4f} +- {value.error:.4f}"


def _signed(value: Mean) -> str:
    return f"{value.value:+.4f} +- {value.error:.4f}" if value.error else "-"


def _table(cells: Sequence[Sequence[Any]], lines: Sequence[Line] = ()) -> str:
    def row(tag: str, values: Sequence[Any], mark: str = "") -> str:
        inside = "".join(f"<{tag}>{html.escape(str(value)).replace('+-', '±')}</{tag}>" for value in values)
        return f"<tr{f' class={mark}' if mark else ''}>{inside}</tr>"

    marks = ["best" if i == 0 else "baseline" if line.place == BASELINE else "" for i, line in enumerate(lines)]
    marks = marks or [""] * len(cells)
    body = "".join(row("td", values, mark) for values, mark in zip(cells[1:], marks, strict=False))
    return f"<div class=wide><table>{row('th', cells[0])}{body}</table></div>"
