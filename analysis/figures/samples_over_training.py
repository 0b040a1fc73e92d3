"""Samples from the same latents as a training went on, from the pictures that it recorded. For a run: OF_RUN."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from analysis.picture import Picture, canvas, styled
from analysis.run import Run
from analysis.tiles import are_images, show
from ndm.errors import UserError
from ndm.evaluation.figures import shown

MOST = 8
"""Pictures shown, the first and the last among them."""


def recorded(run: Run) -> list[tuple[int, Path]]:
    """(examples seen, picture), in order."""
    found = [(int(path.stem), path) for path in run.folder.samples.glob("*.png") if path.stem.isdecimal()]
    return sorted(found)


def spread(total: int, most: int) -> list[int]:
    """At most that many of 0 .. total - 1, evenly spread, both ends among them."""
    return sorted({round(i * (total - 1) / max(min(most, total) - 1, 1)) for i in range(min(most, total))})


def first_tiles(path: Path, shape: tuple[int, ...], total: int, count: int) -> Tensor:
    """The first `count` images of a grid of `total`, as `ndm.evaluation.figures.grid` lays it: uint8 [count, 3, H, W].

    Raises:
        UserError: the picture is no such grid.
    """
    columns, (height, width) = math.ceil(math.sqrt(total)), shape[1:]
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    expected = np.array([math.ceil(total / columns) * (height + 1) + 1, columns * (width + 1) + 1])
    factor = pixels.shape[1] // int(expected[1])
    if not factor or (expected * factor != pixels.shape[:2]).any():
        raise UserError(f"{path.name} of the run {path.parents[1].name} is not a picture of {total} images.")
    small = torch.from_numpy(pixels[::factor, ::factor].copy()).permute(2, 0, 1)
    corners = [(1 + i // columns * (height + 1), 1 + i % columns * (width + 1)) for i in range(min(count, total))]
    return torch.stack([small[:, top : top + height, left : left + width] for top, left in corners])


@styled
def draw(run: Run, *, count: int = 12, most: int = MOST) -> Picture | None:
    """A row of images for each recorded picture; of points of the plane the pictures themselves, beside each other.

    None where a training recorded no pictures.

    Raises:
        UserError: the data set is not prepared here, or a picture is damaged.
    """
    found = recorded(run)
    if not found:
        return None
    found = [found[i] for i in spread(len(found), most)]
    texts = [f"{seen:,}" for seen, _ in found]
    shape = run.manifest.shape
    if are_images(run.manifest):
        total = shown(shape, run.experiment.samples.count)
        tiles = torch.stack([first_tiles(path, shape, total, count) for _, path in found])
        figure, axes = canvas(1, 1, size=(0.45 * tiles.shape[1] + 1.2, 0.45 * len(found) * shape[1] / shape[2] + 0.2))
        show(axes[0, 0], tiles, 256, rows=texts)
        axes[0, 0].set_ylabel("examples seen")
    else:
        figure, axes = canvas(1, len(found), size=(2.4, 2.6))
        for axis, text, (_, path) in zip(axes[0], texts, found, strict=True):
            with Image.open(path) as picture:
                axis.imshow(np.asarray(picture.convert("RGB")))
            axis.set_title(text, fontsize=8)
            axis.axis("off")
        figure.suptitle("examples seen", fontsize=9)
    return Picture("samples-over-training", figure, _caption(run, len(found)))


def _caption(run: Run, pictures: int) -> str:
    sampler = run.experiment.sampler.model_dump()
    keys = ", ".join(f"{key} {value}" for key, value in sampler.items() if value is not None)
    return (
        f"Samples of {run.name} as its training went on: {pictures} of the pictures that it recorded, with the "
        f"averaged weights of the time, by its own sampler ({keys}). The latents are the same in each."
    )
