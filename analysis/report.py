"""A run's report: one page of HTML that needs nothing else, and its figures as PNG and SVG beside it."""

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from analysis import figures, made, measured
from analysis.compare import compare
from analysis.costs import costs
from analysis.picture import Picture
from analysis.quality import quality
from analysis.run import Run
from analysis.table import Table, plus_minus
from ndm.errors import UserError
from ndm.likelihood.statistics import paired
from ndm.page import page, picture

PAGE, FIGURES = "report.html", "figures"


class Report(NamedTuple):
    """What was written, in the folder of the first run."""

    page: Path
    figures: list[Path]
    comparison: list[Table]
    """Of all runs with the first; empty for one run."""
    left_out: list[str]
    """A line for each figure that could not be made, or was not to be, and why."""


def write(
    runs: Sequence[Run],
    environment: Mapping[str, str],
    progress: Callable[[str, int, int], None],
    *,
    quick: bool = False,
) -> Report:
    """The report of the first run, beside which others stand; they are compared with it.

    Args:
        environment: what is known of the code, the versions and the machine that trained the first run.
        progress: is told (the next figure, figures done, of all).
        quick: leave out the figures that take more than what was recorded: new scores and new samples.

    Raises:
        UserError: a record is damaged, or the folder cannot be written.
    """
    run, folder = runs[0], runs[0].folder.path
    drawn, left_out = _drawn(runs, progress, quick)
    compared = compare(runs, run.name) if len(runs) > 1 else []
    with _writing(folder):
        files = [file for each in drawn for file in each.save(folder / FIGURES)]
    body = [
        *_head(runs),
        *_section("comparison", "Comparison", _tables(compared)),
        *_section("scores", "Scores", _scores(runs)),
        *_section("figures", "Figures", _pictures(drawn, left_out, folder / FIGURES)),
        *_section("configuration", "Configuration", _configuration(run)),
        *_section("environment", "Environment and data", _surroundings(run, environment)),
        *_section("commands", "Make it again", _commands(run)),
    ]
    file = folder / PAGE
    with _writing(folder):
        file.write_text(page(f"Report of {run.name}", body), encoding="utf-8")
    return Report(file, files, compared, left_out)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = f"{error.filename or folder}: {str(error.strerror).lower()}"
        raise UserError(
            f"The report cannot be written ({why}); move away what is in its place, or make room."
        ) from None


def _drawn(
    runs: Sequence[Run], progress: Callable[[str, int, int], None], quick: bool
) -> tuple[list[Picture], list[str]]:
    """The figures that these runs allow, and why others are left out."""
    drawn, left_out, wanted = list[Picture](), list[str](), figures.of(runs)
    for done, (name, draw, costly) in enumerate(wanted):
        progress(_spoken(name), done, len(wanted))
        if costly and quick:
            left_out.append(f"{_spoken(name)}: it is computed anew, and --quick leaves that out.")
            continue
        try:
            if (found := draw()) is not None:
                drawn.append(found)
        except UserError as missing:
            left_out.append(f"{_spoken(name)}: {missing}")
    progress("all", len(wanted), len(wanted))
    return drawn, left_out


def _spoken(name: str) -> str:
    """loss_per_log_snr, or learned-schedules, as a heading."""
    return name.replace("_", " ").replace("-", " ").capitalize()


def _section(key: str, title: str, pieces: Iterable[str]) -> Iterator[str]:
    """Nothing where there is nothing in it."""
    if found := list(pieces):
        yield f'<section id="{key}">\n<h2>{title}</h2>'
        yield from found
        yield "</section>"


def _head(runs: Sequence[Run]) -> Iterator[str]:
    """The number with its error and recipe, a picture of samples, and what there is below."""
    run = runs[0]
    yield f'<header>\n<h1>{html.escape(run.name)}</h1>\n<div class="top">\n<div>'
    if run.scores:
        first = run.scores[0]
        yield f'<p class="number"><b>{plus_minus(first.mean)}</b> bits/dim</p>'
        yield _how(measured.recipe(first))
    else:
        yield _how("No image was scored yet.")
    if not run.results:
        yield _how("Its training has not ended.")
    yield from (_how(line) for line in _differences(runs))
    yield _how(measured.model(run))
    yield "</div>"
    if found := _samples(run):
        file, caption = found
        yield picture(file.read_bytes(), f"Samples of {run.name}", caption, pixels=True)
    yield "</div>\n</header>"


def _differences(runs: Sequence[Run]) -> Iterator[str]:
    """Each other run's number, and by how much it differs on the same images and noise."""
    first = next(iter(runs[0].scores), None)
    for other in runs[1:]:
        same = next((s for s in other.scores if first is not None and s.identity == first.identity), None)
        if same is None or first is None:
            yield f"{other.name} has no score of the same estimator, split, seed and data: no difference can be said."
        else:
            over = plus_minus(paired(same.bits, first.bits), signed=True)
            yield (
                f"{other.name}: {plus_minus(same.mean)}; less {runs[0].name}, on the same images and noise: {over}. "
                "The comparison has the test."
            )


def _samples(run: Run) -> tuple[Path, str] | None:
    """The newest picture of samples, and what it shows."""
    if ended := run.results.get("samples"):
        file = run.folder.samples / Path(ended["picture"]).name
        if file.is_file():
            how = f"{ended['count']} samples by {ended['sampler']['kind']}, {ended['evaluations']} network evaluations"
            return file, f"{how}, seed {run.experiment.seed}, not chosen."
    during = sorted(path for path in run.folder.samples.glob("*.png") if path.stem.isdecimal())
    return (during[-1], f"Samples after {int(during[-1].stem):,} examples, not chosen.") if during else None


def _how(text: str) -> str:
    return f'<p class="how">{html.escape(text)}</p>'


def _tables(tables: Iterable[Table | None]) -> Iterator[str]:
    return (table.html() for table in tables if table is not None)


def _scores(runs: Sequence[Run]) -> Iterator[str]:
    """What the comparison does not say already."""
    yield from _tables([measured.scores(runs[0])])
    if len(runs) == 1:
        yield from (table.html() for table in (quality(runs), costs(runs)) if table.rows)


def _pictures(drawn: Sequence[Picture], left_out: Sequence[str], folder: Path) -> Iterator[str]:
    for each in drawn:
        yield f"<h3>{html.escape(_spoken(each.name))}</h3>"
        yield picture((folder / f"{each.name}.png").read_bytes(), _spoken(each.name), each.caption)
    if left_out:
        yield "<h3>Left out</h3>\n<ul>"
        yield from (f"<li>{html.escape(line)}</li>" for line in left_out)
        yield "</ul>"


def _configuration(run: Run) -> Iterator[str]:
    changed = made.changed(run)
    if changed is not None:
        yield changed.html() if changed.rows else _how(f"Every key is that of the preset {run.experiment.name}.")
    yield f"<details>\n<summary>All keys</summary>\n{made.settings(run).html()}</details>"


def _surroundings(run: Run, environment: Mapping[str, str]) -> Iterator[str]:
    yield from _tables([made.environment(environment)])
    try:
        yield made.data(run).html()
    except UserError as missing:
        yield _how(f"No data card: {missing}")


def _commands(run: Run) -> Iterator[str]:
    yield f"<pre>{html.escape(chr(10).join(made.commands(run)))}</pre>"
    yield _how("In order: the same training, with its own scores and samples; the other scores; this page.")
