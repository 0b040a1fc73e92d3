"""p(x | z_0) and the scale of the data. The data's manifest decides which one applies: there is no Config."""

from ndm.decoders._base import Decoder as Decoder
from ndm.decoders.categorical import MOST_LEVELS, Categorical
from ndm.decoders.gaussian import Gaussian
from ndm.errors import UserError


def for_levels(levels: int) -> Decoder:
    """The decoder of data with that many levels, or 0 for continuous data; UserError if there is none."""
    if levels == 0:
        return Gaussian()
    if 2 <= levels <= MOST_LEVELS:
        return Categorical(levels)
    raise UserError(f"levels = {levels} is not possible: give 0 for continuous data, or 2 to {MOST_LEVELS}")
