"""The figures of a search's report; matplotlib alone, one function each."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ndm.evaluation.figures import ACCENT, INK, PALE
from ndm.search.findings import Findings, Line
from ndm.search.plan import BASELINE

WIDTH, HEIGHT = 6.4, 4.0
MARKED = "#d55e00"


def draw(found: Findings, folder: Path) -> dict[str, Path]:
    """Every figure that the findings allow, as PNG and SVG in `folder`; caption -> PNG."""
    reached = [line for line in found.lines if line.bits]
    last = max((line.rung for line in reached), default=-1)
    level = [line for line in reached if line.rung == last]
    front = (
        f"Bits/dim of the validation images at rung {last + 1} against %s, with standard errors over images; the line "
    )
    front += "joins the points that no other beats in both"
    figures: list[tuple[str, str, Callable[[Any], None]]] = []
    if reached:
        caption = (
            "Bits/dim of the validation images at each rung against the compute spent; a curve that ends early was cut"
        )
        figures.append(("curves", caption, lambda axes: _curves(axes, reached)))
    for name, words, value in (
        ("flops", "FLOPs of a training step, in the baseline's", lambda line: line.flops_ratio),
        ("parameters", "parameters of all networks", lambda line: line.parameters),
        ("evaluations", "evaluations of the denoiser for a sample", lambda line: line.evaluations),
    ):
        if len({value(line) for line in level} - {None}) > 1:
            figures.append((name, front % words, lambda axes, v=value, w=words: _front(axes, level, v, w)))
    if found.importance:
        caption = (
            "Share of the variance of the bits at the first rung, before anything was cut, that a key explains alone"
        )
        figures.append(("importance", caption, lambda axes: _importance(axes, found.importance)))
    return {caption: _save(folder / f"{name}.png", plot) for name, caption, plot in figures}


def _save(path: Path, plot: Callable[[Any], None]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes: Any = figure.subplots()
    plot(axes)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", labelsize=8, colors=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    figure.savefig(path.with_suffix(".svg"))
    return path


def _colour(line: Line, best: Line) -> tuple[str, float]:
    """The best stands out, then the baseline."""
    return (MARKED, 2.2) if line is best else (INK, 1.8) if line.place == BASELINE else (PALE, 1.2)


def _curves(axes: Any, lines: Sequence[Line]) -> None:
    for line in reversed(lines):
        colour, width = _colour(line, lines[0])
        flops, bits = zip(*line.curve, strict=True)
        style = "--" if line.place == BASELINE else "-"
        name = line.label if colour != PALE else None
        axes.plot(flops, bits, style, color=colour, linewidth=width, marker="o", markersize=3, label=name)
    axes.set(xscale="log", xlabel="FLOPs spent", ylabel="bits/dim")
    axes.legend(fontsize=7, frameon=False)


def _front(axes: Any, lines: Sequence[Line], value: Callable[[Line], Any], words: str) -> None:
    points = sorted(
        ((value(line), line.bits.value, line) for line in lines if line.bits and value(line) is not None),
        key=lambda point: point[:2],
    )
    best = lines[0]
    for x, _, line in points:
        assert line.bits is not None
        colour, _ = _colour(line, best)
        colour = ACCENT if colour == PALE else colour
        axes.errorbar(x, line.bits.value, line.bits.error, color=colour, fmt="o", markersize=4, linewidth=1)
        axes.annotate(line.label, (x, line.bits.value), fontsize=6, xytext=(4, 4), textcoords="offset points")
    front: list[tuple[float, float]] = []
    for x, y, _ in points:
        if not front or y < front[-1][1]:
            front.append((x, y))
    axes.step(*zip(*front, strict=True), where="post", color=INK, linewidth=0.8, alpha=0.6)
    axes.set(xlabel=words, ylabel="bits/dim")


def _importance(axes: Any, shares: dict[str, tuple[float, int]]) -> None:
    ordered = sorted(shares.items(), key=lambda item: item[1][0])
    axes.barh([key for key, _ in ordered], [share for _, (share, _) in ordered], color=ACCENT)
    axes.set(xlim=(0, 1), xlabel="share of the variance")
