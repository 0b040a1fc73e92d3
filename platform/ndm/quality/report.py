"""Every distance of a sample from a reference, with standard errors and counts."""

import torch
from torch import Tensor

from ndm.errors import UserError
from ndm.likelihood.statistics import Mean
from ndm.quality import FEWEST
from ndm.quality.features import Extractor, Pixels, features
from ndm.quality.frechet import frechet
from ndm.quality.kernel_distance import kernel_distance
from ndm.quality.mmd import gaussian_of, mmd_squared
from ndm.quality.precision_recall import precision_recall
from ndm.quality.sliced_wasserstein import floor, sliced_wasserstein
from ndm.quality.subsets import subset

MMD_POINTS = 5000
"""MMD^2 is unbiased whatever the counts, so a random subset only widens its error; all pairs of 50,000 cost hours."""


def distances(
    samples: Tensor,
    reference: Tensor,
    *,
    levels: int,
    seed: int,
    device: torch.device | str = "cpu",
    batch: int = 256,
) -> dict[str, Mean]:
    """What needs no features: distances in pixels of samples [N, *shape] from a reference [M, *shape], stored values.

    `sliced_wasserstein_pixels`, `sliced_wasserstein_floor_pixels` (what equal laws would give) and
    `mmd_squared_pixels`. `samples` and `reference` are the counts N and M, with error 0.

    Raises:
        UserError: fewer than 30 images, two shapes, or values that are not finite.
    """
    if samples.shape[1:] != reference.shape[1:]:
        raise UserError(
            f"The samples have shape {tuple(samples.shape[1:])} and the reference {tuple(reference.shape[1:])}; "
            "compare samples with the data that the model was trained on."
        )
    for what, raw in (("samples", samples), ("reference", reference)):
        if len(raw) < FEWEST:
            raise UserError(f"Quality needs at least {FEWEST} {what}, not {len(raw)}; take more of them.")
        if not torch.isfinite(raw).all():
            raise UserError(f"The {what} hold values that are not finite; a model that diverged cannot be compared.")

    x, y = (features(Pixels(levels), raw, batch=batch, device=device) for raw in (samples, reference))
    kernel = gaussian_of(y, seed=seed)
    few_x, few_y = subset(x, MMD_POINTS, seed, "mmd/samples"), subset(y, MMD_POINTS, seed, "mmd/reference")
    return {
        "samples": Mean(float(len(samples)), 0.0),
        "reference": Mean(float(len(reference)), 0.0),
        "sliced_wasserstein_pixels": sliced_wasserstein(x, y, seed=seed, device=device),
        "sliced_wasserstein_floor_pixels": floor(x, y, seed=seed, device=device),
        "mmd_squared_pixels": mmd_squared(few_x, few_y, kernel, device=device),
    }


def quality(
    samples: Tensor,
    reference: Tensor,
    *,
    extractor: Extractor,
    seed: int,
    device: torch.device | str = "cpu",
    batch: int = 256,
) -> dict[str, Mean]:
    """The distances in pixels, and in features `fid_NAME`, `kid_NAME`, `precision_NAME`, `recall_NAME`.

    NAME is the extractor's; samples [N, *shape] and reference [M, *shape] are stored values of its levels. Images pass
    the extractor in batches and the distances in blocks, so the device's memory does not grow with the counts;
    features stay in host memory, 4 bytes each. Errors as for `distances`.
    """
    result = distances(samples, reference, levels=extractor.levels, seed=seed, device=device, batch=batch)
    f, g = (features(extractor, raw, batch=batch, device=device) for raw in (samples, reference))
    result[f"fid_{extractor.name}"] = frechet(f, g, device=device)
    result[f"kid_{extractor.name}"] = kernel_distance(f, g, seed=seed, device=device)
    balls = precision_recall(f, g, device=device)
    result[f"precision_{extractor.name}"] = balls.precision
    result[f"recall_{extractor.name}"] = balls.recall
    return result
