"""Where the next point of a search is. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry
from ndm.search.searchers._base import Opening as Opening
from ndm.search.searchers._base import Searcher as Searcher
from ndm.search.searchers._base import Tried as Tried

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
