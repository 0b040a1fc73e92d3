"""Which trials go on to the next rung. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry
from ndm.search.pruners._base import Progress as Progress
from ndm.search.pruners._base import Pruner as Pruner
from ndm.search.pruners._base import Standing as Standing

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
