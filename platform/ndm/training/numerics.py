"""How the numbers of a training are formed: the type of products, their layout in memory.

All defaults are the safe choice. Weights, their average, the optimiser's moments, the schedule, differences of F, the
terms of the bound and everything that is scored or sampled are in float32 whatever is chosen here.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch
from pydantic import Field

from ndm import registry
from ndm.networks import Network
from ndm.objectives import Objective

Precision = Literal["fp32", "tf32", "bf16"]


class NumericsConfig(registry.Config):
    """What decides the rounding of a training step, and its speed."""

    precision: Precision = Field(default="fp32")
    """Of products and convolutions: fp32; tf32, with 10 bits of mantissa where a GPU offers it, in the whole process;
    bf16, with 7 bits, in the networks of the model that is trained and nowhere else."""
    channels_last: bool = False
    """Keep the weights of convolutions with the channels innermost, which suits tensor cores."""


def set_process(precision: Precision) -> None:
    """The policy for TF32 in this process, to be set where a worker starts: off, unless it is asked for.

    torch itself allows it for convolutions.
    """
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


@contextmanager
def exact() -> Generator[None]:
    """Without TF32 inside the block, which leaves a process that is somebody else's as it was."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    set_process("fp32")
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def prepare(objective: Objective, config: NumericsConfig) -> None:
    """Make the objective that is trained compute as asked; copies made before, such as the average, do not."""
    for module in objective.modules():
        if isinstance(module, Network):
            module.products = torch.bfloat16 if config.precision == "bf16" else None
            if config.channels_last:
                module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
