"""A table of sample quality: what runs recorded of the distance of their samples from the data."""

import re
from collections.abc import Sequence

from analysis.run import Run
from analysis.table import Table, plus_minus
from ndm.likelihood.statistics import Mean

PREFIX = "samples/"
RECIPE = re.compile(
    r"(?P<sampler>.+)_nfe(?P<nfe>\d+)_n(?P<count>\d+)(?P<ema>_ema[\d.]+)?_(?P<split>[a-z]+)(?P<images>\d+)"
)
"""As the metrics of `ndm sample` are called: heun_nfe40_n1000_train1437."""
ORDER = ("sliced_wasserstein_pixels", "sliced_wasserstein_floor_pixels", "mmd_squared_pixels", "fid", "kid")
NAMES = {"sliced_wasserstein": "sliced W", "mmd_squared": "MMD^2", "fid": "FID", "kid": "KID"}

Measured = dict[str, dict[str, Mean]]
"""Recipe -> metric -> value with its standard error."""


def measured(run: Run) -> Measured:
    """All that was measured of a run's samples."""
    values = {key: float(points[1][-1]) for key, points in run.curves.items() if key.startswith(PREFIX)}
    found: Measured = {}
    for key, value in values.items():
        recipe, _, metric = key.removeprefix(PREFIX).partition("/")
        if f"{key}_se" in values and RECIPE.fullmatch(recipe):
            found.setdefault(recipe, {})[metric] = Mean(value, values[f"{key}_se"])
    return found


def quality(runs: Sequence[Run]) -> Table:
    """A row per run and sampler, a column per metric; runs of the same data only."""
    found = {run.name: measured(run) for run in runs}
    metrics = sorted({metric for of in found.values() for each in of.values() for metric in each}, key=_place)
    rows = list[list[str]]()
    for name, recipes in found.items():
        for recipe, values in sorted(recipes.items()):
            match = RECIPE.fullmatch(recipe)
            assert match
            sampler = match["sampler"] + (match["ema"] or "")
            cells = [plus_minus(values[metric]) if metric in values else "" for metric in metrics]
            rows.append([name, sampler, match["nfe"], match["count"], f"{match['images']} {match['split']}", *cells])
    notes = [
        "Distance of the samples from images of the data, ± standard error; NFE are evaluations of the network for a "
        "sample. A sliced Wasserstein distance is biased by the number of samples: its floor is what two samples of "
        "one law would give. Rows are comparable at equal numbers of samples and images. FID and KID in features of a "
        "random network compare models of these data, not papers."
    ]
    columns = ["run", "sampler", "NFE", "samples", "compared with", *map(_called, metrics)]
    return Table("Sample quality", columns, rows, notes, keys=2)


def _place(metric: str) -> tuple[int, str]:
    return next((i for i, start in enumerate(ORDER) if metric.startswith(start)), len(ORDER)), metric


def _called(metric: str) -> str:
    """sliced_wasserstein_floor_pixels -> sliced W floor (pixels)."""
    name, _, features = metric.rpartition("_")
    floor = " floor" if name.endswith("_floor") else ""
    name = name.removesuffix("_floor")
    return f"{NAMES.get(name, name)}{floor} ({features})"
