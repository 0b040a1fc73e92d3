"""Features of a random convolutional network whose weights are a function of a seed: nothing to download.

Distances in them see local texture and layout, but they are NOT comparable with published FID, KID, precision or
recall, nor with one another when their seeds differ. They serve to compare models on the same data.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from ndm.errors import UserError
from ndm.quality.features import Extractor
from ndm.randomness import Stream

WIDTHS = (16, 32, 64)
GRID = 2
"""The last layer is averaged over a GRID x GRID partition of the image: d = 64 x 4."""


class RandomNetwork(Extractor):
    """Three 3 x 3 convolutions with ReLU, the second and third of stride 2, and He's scale of weights.

    Raises:
        UserError: the data are not images.
    """

    name = "random"

    def __init__(self, shape: tuple[int, ...], levels: int, seed: int = 0) -> None:
        if len(shape) != 3:
            raise UserError(f"The extractor random takes images [C, H, W], not data of shape {shape}; use pixels.")
        super().__init__(levels)
        layers: list[nn.Module] = []
        for i, (fan_in, width) in enumerate(pairwise((shape[0], *WIDTHS))):
            layer = nn.Conv2d(fan_in, width, 3, stride=1 if i == 0 else 2, padding=1)
            weight = Stream(seed, "quality/random", i).normal(0, width, (fan_in, 3, 3))
            layer.load_state_dict({"weight": weight * math.sqrt(2 / (9 * fan_in)), "bias": torch.zeros(width)})
            layers += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(GRID), nn.Flatten()).requires_grad_(False)

    def forward(self, raw: Tensor) -> Tensor:
        return self.layers(self.decoder.encode(raw))
