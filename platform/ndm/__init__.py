"""Neural Diffusion Models: learned forward processes, their bounds, likelihoods, samplers, and running them."""

__version__ = "0.1.0"

LAZY = ("Likelihood", "Pretrained", "load")
"""Of `ndm.pretrained`; imported when they are asked for, because the command line starts without torch."""

TYPE_CHECKING = False  # type checkers know the name; importing it from typing would cost the command line a millisecond
if TYPE_CHECKING:
    from ndm.pretrained import Likelihood as Likelihood
    from ndm.pretrained import Pretrained as Pretrained
    from ndm.pretrained import load as load


def __getattr__(name: str) -> object:
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("ndm.pretrained"), name)
