"""Parameterisations of what the network estimates. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry
from ndm.heads._base import DataHead as DataHead
from ndm.heads._base import DriftHead as DriftHead
from ndm.heads._base import Head as Head
from ndm.heads._base import PairHead as PairHead

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
