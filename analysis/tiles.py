"""Images side by side on one axis, each pixel as it is stored."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ndm.data.manifest import Manifest

GREY = 0.5
"""Between the tiles, of black at 0 and white at 1."""


def are_images(manifest: Manifest) -> bool:
    """Whether its examples can be shown: pixels of one or three channels."""
    return len(manifest.shape) == 3 and manifest.shape[0] in (1, 3) and manifest.levels > 1


def composed(images: Tensor, between: float, *, gap: int = 1, frame: int = 0) -> NDArray[Any]:
    """Images [R, C, channels, H, W] as one of R rows and C columns, [height, width, channels], of their own type.

    `gap` pixels of the value `between` part them, and `frame` of them stand around all.
    """
    rows, columns, channels, height, width = images.shape
    below, beside = height + gap, width + gap
    size = (rows * below - gap + 2 * frame, columns * beside - gap + 2 * frame, channels)
    picture = np.full(size, between, dtype=images.numpy().dtype)
    for i, j in np.ndindex(rows, columns):
        top, left = frame + i * below, frame + j * beside
        picture[top : top + height, left : left + width] = images[i, j].permute(1, 2, 0)
    return picture


def tiled(raw: Tensor, levels: int, gap: int = 1) -> NDArray[np.float64]:
    """Stored values [R, C, channels, H, W] as a picture of R rows and C columns, [height, width, 3] in [0, 1]."""
    picture = composed(raw.double() / (levels - 1), GREY, gap=gap, frame=gap)
    return np.broadcast_to(picture, (*picture.shape[:2], 3))  # one channel goes to all three


def show(
    axis: Any, raw: Tensor, levels: int, *, rows: Sequence[str] = (), columns: Sequence[str] = (), gap: int = 1
) -> None:
    """The images [R, C, channels, H, W] on an axis, with a text beside each row and above each column."""
    axis.imshow(tiled(raw, levels, gap), interpolation="nearest")
    height, width = raw.shape[-2] + gap, raw.shape[-1] + gap
    axis.set_yticks([gap / 2 + (i + 0.5) * height - 0.5 for i in range(len(rows))], rows)
    axis.set_xticks([gap / 2 + (j + 0.5) * width - 0.5 for j in range(len(columns))], columns)
    axis.tick_params(length=0, labelsize=8, labeltop=True, labelbottom=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
