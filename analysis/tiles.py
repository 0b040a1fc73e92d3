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


def tiled(raw: Tensor, levels: int, gap: int = 1) -> NDArray[np.float64]:
    """Stored values [R, C, channels, H, W] as one picture of R rows and C columns, [height, width, 3] in [0, 1]."""
    rows, columns, _, height, width = raw.shape
    picture = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), GREY)
    for i, j in np.ndindex(rows, columns):
        top, left = gap + i * (height + gap), gap + j * (width + gap)
        tile = (raw[i, j].double() / (levels - 1)).permute(1, 2, 0).numpy()
        picture[top : top + height, left : left + width] = tile  # one channel goes to all three
    return picture


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
