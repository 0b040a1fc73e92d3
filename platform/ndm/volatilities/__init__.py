"""Volatilities g(t) of the forward process. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry
from ndm.volatilities._base import Volatility as Volatility

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
