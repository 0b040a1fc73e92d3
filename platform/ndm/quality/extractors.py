"""An extractor by its name."""

from pathlib import Path

from ndm.errors import UserError
from ndm.quality.features import Extractor, Pixels
from ndm.quality.inception import Inception
from ndm.quality.random_network import RandomNetwork

NAMES = ("pixels", "random", "inception")


def extractor(
    name: str, shape: tuple[int, ...], levels: int, *, seed: int = 0, weights: Path | str | None = None
) -> Extractor:
    """The extractor `name` for stored values of this shape and number of levels (0: continuous).

    `seed` makes the weights of `random` and is not the seed of the metrics; `weights` is the file `inception` reads.

    Raises:
        UserError: the name is unknown, or the extractor cannot be had for these data or on this machine.
    """
    match name:
        case "pixels":
            return Pixels(levels)
        case "random":
            return RandomNetwork(shape, levels, seed)
        case "inception":
            return Inception(shape, levels, Path(weights) if weights else None)
        case _:
            raise UserError(f"There is no feature extractor {name!r}; choose one of {', '.join(NAMES)}.")
