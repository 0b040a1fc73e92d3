"""Samples from the same latents, a row for each run. For runs: OF_RUNS.

A deterministic sampler makes each column a function of one latent alone. 2-D samples are points in the colour of their
latent's direction, so that it is seen where each part of the prior went.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from analysis.picture import PALE, Picture, canvas, reasons, styled
from analysis.run import Run, labels, of_one_data, weights_of
from analysis.tiles import are_images, show
from ndm.errors import UserError
from ndm.randomness import Stream

SAMPLER = {"kind": "exponential", "steps": 20, "grid": "log_snr", "times": None}
POINTS = 40
"""2-D points for each image that there would be."""


@styled
def draw(
    runs: Sequence[Run], *, count: int = 12, seed: int = 0, sampler: Mapping[str, Any] = SAMPLER
) -> Picture | None:
    """The samples 0 .. count - 1 of a seed by each run, all by one sampler.

    A run that the sampler is not for is drawn by its own, which the caption says. None where examples are neither
    images nor points of the plane.

    Raises:
        UserError: the runs are on different data, or one has no weights.
    """
    manifest = of_one_data(runs)
    images, plane = are_images(manifest), manifest.shape == (2,)
    if not (images or plane):
        return None
    drawn = [_samples(run, count if images else POINTS * count, seed, sampler) for run in runs]
    names = labels(runs)
    if images:
        height, width = manifest.shape[1:]
        figure, axes = canvas(1, 1, size=(0.45 * count + 1.2, 0.45 * len(runs) * height / width + 0.4))
        tiles = torch.stack([raw for raw, _ in drawn])
        show(axes[0, 0], tiles, manifest.levels, rows=names, columns=[str(i) for i in range(count)])
    else:
        figure, axes = canvas(1, len(runs), size=(3.0, 3.0), sharex=True, sharey=True)
        z = Stream(seed, "sample/z_1").normal(0, POINTS * count, (2,))
        direction = torch.atan2(z[:, 1], z[:, 0])
        for axis, name, (raw, _) in zip(axes[0], names, drawn, strict=True):
            axis.scatter(
                *raw.T, c=direction, cmap="twilight", vmin=-math.pi, vmax=math.pi, s=7, lw=0.3, edgecolors=PALE
            )
            axis.set(title=name, aspect="equal")
            axis.set_xlabel("$x_1$")
        axes[0, 0].set_ylabel("$x_2$")
    own = {run.name: why for run, (_, why) in zip(runs, drawn, strict=True) if why}
    return Picture("gallery", figure, _caption(runs, sampler, images, seed, own))


def _samples(run: Run, count: int, seed: int, sampler: Mapping[str, Any]) -> tuple[Tensor, str]:
    """Samples of a run, and why they are not by the sampler that was asked for, if they are not."""
    try:
        return run.model.sample(count, seed=seed, sampler=sampler), ""
    except UserError as error:
        return run.model.sample(count, seed=seed), str(error)


def _caption(runs: Sequence[Run], sampler: Mapping[str, Any], images: bool, seed: int, own: Mapping[str, str]) -> str:
    keys = ", ".join(f"{key} {value}" for key, value in sampler.items() if value is not None)
    said = [
        f"Samples from the same latents (seed {seed}), by the sampler {keys}.",
        "A column is one latent, numbered above."
        if images
        else "The colour is the direction of the latent that a point was drawn from.",
        weights_of(runs),
    ]
    return " ".join([*said, *(f"Drawn by their own samplers are {names}" for names in reasons(own))])
