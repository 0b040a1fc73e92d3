"""Distance of samples from the data against evaluations of the network, for each sampler. For a run: OF_RUN.

Every sampler starts from the same latents. The distances are the project's own, in pixels; see `ndm.quality`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.ticker import ScalarFormatter
from torch import Tensor

from analysis.picture import COLOURS, MARKERS, PALE, Picture, canvas, reasons, styled
from analysis.run import Run
from ndm.errors import UserError
from ndm.likelihood.statistics import Mean
from ndm.pretrained import Pretrained
from ndm.quality.report import distances
from ndm.quality.subsets import shuffled

SAMPLERS: dict[str, tuple[dict[str, Any], int]] = {
    "ancestral, η = 0 (DDIM)": ({"kind": "ancestral", "eta": 0.0, "grid": "uniform"}, 1),
    "ancestral, η = 1 (DDPM)": ({"kind": "ancestral", "eta": 1.0, "grid": "uniform"}, 1),
    "euler": ({"kind": "euler", "grid": "uniform"}, 1),
    "heun": ({"kind": "heun", "grid": "uniform"}, 2),
    "exponential": ({"kind": "exponential", "grid": "log_snr"}, 1),
    "sde": ({"kind": "sde", "grid": "uniform", "eta": None}, 1),
    "stochastic_heun": ({"kind": "stochastic_heun", "grid": "uniform", "eta": None}, 2),
}
"""Keys of a sampler, each on its usual grid, and evaluations of the network a step."""
NFE = (4, 8, 16, 32)
PANELS = {
    "sliced_wasserstein_pixels": "sliced Wasserstein distance, pixels",
    "mmd_squared_pixels": "squared MMD, pixels",
}
SPLIT, MOST = "train", 5000
REAL = 8
"""Random sets of real images, of as many as there are samples, that are compared with the rest of the reference."""


class Quality(NamedTuple):
    """Of one run: distances by sampler and evaluations, and what real data would have."""

    found: dict[str, dict[int, dict[str, Mean]]]
    """By sampler, evaluations and distance."""
    real: list[dict[str, Mean]]
    """By distance: of each of REAL sets of real images from the rest of them."""
    reference: int
    """Images of the train split that samples were compared with."""
    without: dict[str, str]
    """Samplers that did not draw, and why."""


def quality(run: Run, *, count: int, nfe: Sequence[int], images: int, seed: int) -> Quality:
    """Distances of `count` samples of a seed from the first `images` of the train split."""
    reference = run.rows(SPLIT, 0, images)
    found: dict[str, dict[int, dict[str, Mean]]] = {}
    without: dict[str, str] = {}
    for name, (keys, per_step) in SAMPLERS.items():
        try:
            found[name] = {
                n: _distances(run.model, keys | {"steps": n // per_step, "times": None}, reference, count, seed)
                for n in nfe
                if n % per_step == 0
            }
        except UserError as error:
            without[name] = str(error)
    return Quality(
        found, [_real(reference, run.model.levels, count, seed, i) for i in range(REAL)], len(reference), without
    )


@styled
def draw(run: Run, *, count: int = 128, nfe: Sequence[int] = NFE, images: int = MOST, seed: int = 0) -> Picture | None:
    """Two distances by evaluations of the network, a line a sampler, and where real data lie. None without samplers.

    Raises:
        UserError: fewer than 30 samples, or the run has no weights.
    """
    found = quality(run, count=count, nfe=nfe, images=images, seed=seed)
    if not found.found:
        return None
    figure, axes = canvas(1, len(PANELS), size=(4.8, 3.6))
    for axis, (metric, label) in zip(axes[0], PANELS.items(), strict=True):
        for i, (name, by_nfe) in enumerate(found.found.items()):
            place = list(SAMPLERS).index(name)
            means = [values[metric] for values in by_nfe.values()]
            aside = [n * 1.02 ** (i - len(found.found) / 2) for n in by_nfe]  # so that bars do not hide each other
            style = {"color": COLOURS[place], "marker": MARKERS[place], "ms": 4, "lw": 1.2, "capsize": 2}
            axis.errorbar(aside, [m.value for m in means], [m.error for m in means], label=name, **style)
        real = [values[metric].value for values in found.real]
        axis.axhspan(min(real), max(real), color=PALE, alpha=0.4, lw=0, zorder=0, label="real images")
        axis.set_xscale("log")
        axis.set_xticks(nfe, [str(n) for n in nfe])
        axis.minorticks_off()
        axis.set(xlabel="evaluations of the network a sample (NFE)", ylabel=label)
    axes[0, 0].set_yscale("log")
    axes[0, 0].yaxis.set(major_formatter=ScalarFormatter(), minor_formatter=ScalarFormatter())
    axes[0, 1].set_yscale("symlog", linthresh=max(abs(values["mmd_squared_pixels"].value) for values in found.real))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return Picture("quality-by-nfe", figure, _caption(run, found, count, seed))


def _distances(model: Pretrained, sampler: dict[str, Any], reference: Tensor, count: int, seed: int) -> dict[str, Mean]:
    samples = model.sample(count, seed=seed, sampler=sampler)
    return distances(samples, reference, levels=model.levels, seed=seed)


def _real(reference: Tensor, levels: int, count: int, seed: int, number: int) -> dict[str, Mean]:
    """Distances of a random set of real images from the others."""
    order, size = shuffled(len(reference), seed, f"real/{number}"), min(count, len(reference) // 2)
    return distances(reference[order[:size]], reference[order[size:]], levels=levels, seed=seed)


def _caption(run: Run, found: Quality, count: int, seed: int) -> str:
    grids = ", ".join(f"{name} on {keys['grid']}" for name, (keys, _) in SAMPLERS.items() if name in found.found)
    size = min(count, found.reference // 2)
    said = [
        f"{count} samples of {run.name} for each mark, {run.weights}, the same latents (seed {seed}), against "
        f"{found.reference} images of the {SPLIT} split.",
        f"The band reaches from the least to the most of {REAL} random sets of {size} of those images against the "
        "others: samples in it cannot be told from data so.",
        "Left: bars are one standard error over 512 directions, given the images. Right: unbiased, with bars of one "
        "standard error by the jackknife over images; linear about zero, else logarithmic.",
        f"Grids of times: {grids}.",
    ]
    return " ".join([*said, *(f"Left out are {names}" for names in reasons(found.without))])
