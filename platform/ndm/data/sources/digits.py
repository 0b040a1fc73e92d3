"""DIG8: the 1,797 handwritten digits of 8 x 8 pixels and 17 grey levels that scikit-learn ships.

They are the test part of E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI Machine Learning
Repository, 1998). The three splits are disjoint parts of one recorded permutation.
"""

import hashlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ndm.data.permutation import permutation
from ndm.data.sources._base import Examples, Held, Opened, SourceConfig
from ndm.errors import UserError

COUNT = 1797
SHAPE = (1, 8, 8)
LEVELS = 17
SIZES = {"train": 1437, "validation": 180, "test": 180}
SEED = 20250101
SHA256 = "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
"""Of the images as uint8 [1797, 1, 8, 8] in C order."""


class Config(SourceConfig):
    kind: Literal["digits"] = "digits"

    @property
    def shape(self) -> tuple[int, ...]:
        return SHAPE

    @property
    def levels(self) -> int:
        return LEVELS

    @property
    def rows_per_shard(self) -> int:
        return 256  # so that so small a data set has several

    def identity(self) -> dict[str, str]:
        return {"name": "digits", "version": "1"}

    def open(self) -> Opened:
        from sklearn.datasets import load_digits  # a second to import; only preparation needs it

        bunch: Any = load_digits()
        raw, labels = validate(bunch.images), bunch.target.astype(np.int64)
        ends = np.cumsum(list(SIZES.values()))[:-1]
        rows = np.split(permutation(COUNT, "digits", SEED), ends)
        return Opened([Held(Examples(raw, labels))], dict(zip(SIZES, rows, strict=True)))


def validate(images: NDArray[np.float64]) -> NDArray[np.uint8]:
    """scikit-learn's images [1797, 8, 8] as uint8 [1797, 1, 8, 8].

    Raises:
        UserError: they are not the images that this source knows.
    """
    if images.shape != (COUNT, *SHAPE[1:]):
        raise refusal(f"have the shape {images.shape}, expected {(COUNT, *SHAPE[1:])}")
    if images.min() < 0 or images.max() > LEVELS - 1:
        raise refusal(f"range from {images.min():g} to {images.max():g}, expected 0 to {LEVELS - 1}")
    raw = np.ascontiguousarray(images, np.uint8).reshape(COUNT, *SHAPE)
    found = hashlib.sha256(raw.tobytes()).hexdigest()
    if found != SHA256 or not np.array_equal(raw[:, 0], images):
        raise refusal(f"have the SHA-256 {found[:12]}, expected {SHA256[:12]}")
    return raw


def refusal(difference: str) -> UserError:
    return UserError(
        f"The digits that scikit-learn ships here {difference}: this is another data set; install the version of "
        "scikit-learn that constraints.txt names."
    )
