"""What the tests of the training loop train on: stored values that belong to their positions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ndm.randomness import Stream

LEVELS = 17


@dataclass(frozen=True)
class Batch:
    position: int
    raw: Tensor
    index: Tensor


def examples(stream: str, start: int, count: int, shape: tuple[int, ...]) -> Tensor:
    return (Stream(0, stream).uniform(start, count, shape) * LEVELS).to(torch.uint8)
