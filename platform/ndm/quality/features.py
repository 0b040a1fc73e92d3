"""What a feature extractor is, the one that is always there, and how a set of images becomes a matrix of features.

A metric carries its extractor in its name (`fid_inception`, `fid_random`): numbers from two extractors do not compare.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ndm.decoders import for_levels


class Extractor(nn.Module, ABC):
    """Stored values of data with `levels` levels (0: continuous) to features."""

    name: str

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.decoder = for_levels(levels)

    @abstractmethod
    def forward(self, raw: Tensor) -> Tensor:
        """Stored values [B, *shape] (uint8 levels or float32) to features [B, d], float32."""


class Pixels(Extractor):
    """The data themselves in model space, where images lie in (-1, 1): d is the number of dimensions."""

    name = "pixels"

    def forward(self, raw: Tensor) -> Tensor:
        return self.decoder.encode(raw).flatten(1)


@torch.no_grad()
def features(extractor: Extractor, raw: Tensor, *, batch: int, device: torch.device | str) -> Tensor:
    """Features of stored values [N, *shape] as float32 [N, d] in host memory; moves the extractor to the device."""
    extractor.to(device).eval()  # pyright: ignore[reportUnknownMemberType]
    starts = range(0, len(raw), batch)
    return torch.cat([extractor(raw[start : start + batch].to(device)).float().cpu() for start in starts])
