"""Where data sets come from. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry
from ndm.data.sources._base import Examples as Examples
from ndm.data.sources._base import Opened as Opened
from ndm.data.sources._base import Part as Part
from ndm.data.sources._base import SourceConfig as SourceConfig
from ndm.data.sources._flips import Flipped as Flipped
from ndm.data.sources._mixture import MixtureConfig as MixtureConfig

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
