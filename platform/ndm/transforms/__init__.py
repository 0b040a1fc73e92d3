"""Learned transforms of the data. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry
from ndm.transforms._base import Transform as Transform

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
