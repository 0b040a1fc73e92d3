"""Parameterisations of x_hat. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry
from ndm.heads._base import Head as Head

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
