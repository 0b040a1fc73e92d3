"""The nets behind x_hat and F. One variant, one file."""

from typing import TYPE_CHECKING

from ndm import registry
from ndm.networks._base import Network as Network

if TYPE_CHECKING:
    from typing import Any as AnyConfig
else:
    AnyConfig = registry.union(__name__)
