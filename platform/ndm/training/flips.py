"""Horizontal flips of training images: which of them is a function of (seed, position), like all that is random."""

import torch
from torch import Tensor

from ndm.randomness import Stream
from ndm.training.step import Slots


def flipped(raw: Tensor, seed: int, slots: Slots) -> Tensor:
    """The images [b, C, H, W] of the slots, each mirrored left to right with probability one half.

    An image's slot decides, not its row: it is shown both ways over the epochs, and the same way on any number of
    workers and after a resumption.
    """
    mirrored = Stream(seed, "train/flip").uniform(slots.position + slots.first, slots.count) < 0.5
    return torch.where(mirrored.to(raw.device)[:, None, None, None], raw.flip(-1), raw)
