"""Learned transforms of the data. One variant, one file."""

from typing import TYPE_CHECKING

from ndm import registry
from ndm.transforms._base import Transform as Transform

if TYPE_CHECKING:
    from typing import Any as AnyConfig
else:
    AnyConfig = registry.union(__name__)
