"""What the sources of images share whose mirror images are images of the same kind, as photographs are and digits are
not: a key that shows them to the training both ways."""

from ndm.data.sources._base import SourceConfig


class Flipped(SourceConfig):
    """Images that may be mirrored left to right; `ndm.training.flips` does it."""

    flip: bool = False
    """Mirror a random half of the images in training, and never where they are scored."""
