"""The nets behind x_hat and F. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry
from ndm.networks._base import Network as Network

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
