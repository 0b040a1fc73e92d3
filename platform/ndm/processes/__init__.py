"""Forward processes and what follows from them. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
