"""Noise schedules. One variant, one file."""

from typing import TYPE_CHECKING, Any

from ndm import registry
from ndm.schedules._base import Schedule as Schedule
from ndm.schedules._base import ScheduleConfig as ScheduleConfig
from ndm.schedules._base import ScheduleValue as ScheduleValue
from ndm.schedules._base import variance_preserving as variance_preserving

if TYPE_CHECKING:
    AnyConfig = Any
else:
    AnyConfig = registry.union(__name__)
