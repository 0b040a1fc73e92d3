"""Samples beside the training images nearest to them, and how near test images are to theirs. For a run: OF_RUN.

A model that copies draws samples that are nearer to training images than images that it never saw.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from analysis.picture import COLOURS, Picture, canvas, styled
from analysis.run import Run
from analysis.tiles import are_images, show
from ndm.quality.distances import squared_distances

MOST = 50_000
"""Training images looked at, unless more are asked for; the first ones of a shuffled split are a random choice."""
BLOCK = 2048
"""Training images read and compared at a time."""
NEIGHBOURS = 3


class Nearest(NamedTuple):
    """The K nearest training images of Q points, nearest first."""

    distances: Tensor
    """Euclidean, [Q, K] float64; pixels count from 0 to 1."""
    rows: Tensor
    """Their places in the train split, [Q, K]."""


def nearest(run: Run, points: Tensor, *, most: int = MOST, block: int = BLOCK, neighbours: int = NEIGHBOURS) -> Nearest:
    """The nearest of the first `most` training images, by L2 in data space, for stored values [Q, *shape].

    The train split is read block by block: memory is that of a block and of its distances to the Q points.
    """
    levels = run.manifest.levels
    queries = _coordinates(points, levels)
    found = Nearest(queries.new_empty(len(points), 0), torch.empty(len(points), 0, dtype=torch.int64))
    total = min(most, run.manifest.rows("train"))
    for start in range(0, total, block):
        some = _coordinates(run.rows("train", start, min(start + block, total)), levels)
        index = torch.arange(start, start + len(some)).expand(len(points), -1)
        distances = torch.cat([found.distances, squared_distances(queries, some).sqrt()], 1)
        index = torch.cat([found.rows, index], 1)
        kept = distances.argsort(dim=1, stable=True)[:, :neighbours]
        found = Nearest(distances.gather(1, kept), index.gather(1, kept))
    return found


@styled
def draw(run: Run, *, count: int = 8, samples: int = 64, most: int = MOST, seed: int = 0) -> Picture | None:
    """The `count` of `samples` that are nearest to training images, beside those; and all distances, with the test's.

    Of data that are no images there are the distances alone.

    Raises:
        UserError: the run has no weights, or its data set is not prepared here.
    """
    manifest = run.manifest
    drawn = run.model.sample(samples, seed=seed)
    test = run.rows("test", 0, samples)
    of_samples, of_test = nearest(run, drawn, most=most), nearest(run, test, most=most)
    looked_at = min(most, manifest.rows("train"))
    images = are_images(manifest)
    figure, axes = canvas(1, 2 if images else 1, size=(4.6, 3.6))
    axis = axes[0, -1]
    kinds = (("samples", of_samples, "-"), ("test images" if images else "test points", of_test, "--"))
    for i, (name, found, line) in enumerate(kinds):
        axis.ecdf(found.distances[:, 0].numpy(), color=COLOURS[i], ls=line, lw=1.6, label=f"{len(found.rows)} {name}")
    unit = " (pixels from 0 to 1)" if manifest.levels else ""
    axis.set(xlabel=f"L2 to the nearest training example{unit}", ylabel="share that is at least as near")
    axis.set_xlim(left=0)
    axis.legend(fontsize=8, loc="lower right")
    if images:
        chosen = of_samples.distances[:, 0].argsort(stable=True)[:count]
        neighbours = [_rows(run, of_samples.rows[chosen, k]) for k in range(of_samples.rows.shape[1])]
        texts = [f"{float(of_samples.distances[i, 0]):.2f}" for i in chosen]
        rows = ["sample", *(f"nearest {k + 1}" if k else "nearest" for k in range(len(neighbours)))]
        show(axes[0, 0], torch.stack([drawn[chosen], *neighbours]), manifest.levels, rows=rows, columns=texts)
        axes[0, 0].set_title(f"L2 to the nearest, of the {len(chosen)} nearest samples", fontsize=9)
    return Picture("nearest", figure, _caption(run, of_samples, of_test, looked_at, images, count, seed))


def _coordinates(raw: Tensor, levels: int) -> Tensor:
    """Stored values [N, *shape] as float64 [N, D]; pixels from 0 to 1, continuous data as they are."""
    return raw.flatten(1).double() / (levels - 1 if levels else 1)


def _rows(run: Run, index: Tensor) -> Tensor:
    """Training images by their rows, [n, *shape]."""
    return torch.cat([run.rows("train", int(i), int(i) + 1) for i in index])


def _caption(
    run: Run, of_samples: Nearest, of_test: Nearest, looked_at: int, images: bool, count: int, seed: int
) -> str:
    ours, test = of_samples.distances[:, 0], of_test.distances[:, 0]
    all_of_them = run.manifest.rows("train")
    nearer = int((ours < test.min()).sum())
    which = f"all {all_of_them}" if looked_at == all_of_them else f"the first {looked_at} of {all_of_them} (shuffled)"
    said = [
        f"How near {len(ours)} samples of {run.name} (seed {seed}, its own sampler, {run.weights}) are to {which} "
        f"training examples, and how near the first {len(test)} examples of the test split are to them: medians "
        f"{float(ours.median()):.3g} and {float(test.median()):.3g}.",
        f"{nearer} of the samples are nearer than the nearest test example ({float(test.min()):.3g}).",
        "A curve of samples far to the left of the test's would be copies.",
    ]
    if images:
        said.append(
            f"Left: the {min(count, len(ours))} samples that are nearest to a training image, and below each the "
            f"{of_samples.rows.shape[1]} nearest ones."
        )
    return " ".join(said)
