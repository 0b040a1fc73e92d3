"""A table of sample quality: what runs recorded of the distance of their samples from the data."""

import re
from collections.abc import Sequence

from analysis.run import Run
from analysis.table import Table, plus_minus
from ndm.evaluation.distances import by_drawing, rank, spoken
from ndm.likelihood.statistics import Mean

RECIPE = re.compile(
    r"(?P<sampler>.+)_nfe(?P<nfe>\d+)_n(?P<count>\d+)(?P<ema>_ema[\d.]+)?_(?P<split>[a-z]+)(?P<images>\d+)"
)
"""As the metrics of `ndm sample` are called: heun_nfe40_n1000_train1437."""


def quality(runs: Sequence[Run]) -> Table:
    """A row per run and sampler, a column per metric; runs of the same data only."""
    found = [
        (run.name, match, values)
        for run in runs
        for recipe, values in by_drawing({key: float(points[1][-1]) for key, points in run.curves.items()}).items()
        if (match := RECIPE.fullmatch(recipe))
    ]
    metrics = sorted({metric for *_, values in found for metric in values}, key=rank)
    rows = list[list[str]]()
    for name, match, values in found:
        sampler = match["sampler"] + (match["ema"] or "")
        cells = [plus_minus(Mean(*values[metric])) if metric in values else "" for metric in metrics]
        rows.append([name, sampler, match["nfe"], match["count"], f"{match['images']} {match['split']}", *cells])
    notes = [
        "Distance of the samples from images of the data, ± standard error; NFE are evaluations of the network for a "
        "sample. A sliced Wasserstein distance is biased by the number of samples: its floor is what two samples of "
        "one law would give. Rows are comparable at equal numbers of samples and images. FID and KID in features of a "
        "random network compare models of these data, not papers."
    ]
    columns = ["run", "sampler", "NFE", "samples", "compared with", *map(spoken, metrics)]
    return Table("Sample quality", columns, rows, notes, keys=2)
