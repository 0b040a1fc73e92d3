"""Samplers. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry
from ndm.sampling._base import Draw as Draw
from ndm.sampling._base import Sampler as Sampler
from ndm.sampling._reverse import ReverseConfig as ReverseConfig

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
