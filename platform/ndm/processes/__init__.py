"""Forward processes and what follows from them. One variant, one file."""

from typing import TYPE_CHECKING

from ndm import registry

if TYPE_CHECKING:
    from typing import Any as AnyConfig
else:
    AnyConfig = registry.union(__name__)
