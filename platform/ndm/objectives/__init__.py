"""Variational bounds to train on. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry
from ndm.objectives._base import Noise as Noise
from ndm.objectives._base import Objective as Objective
from ndm.objectives._base import Terms as Terms
from ndm.objectives._base import Weight as Weight

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
