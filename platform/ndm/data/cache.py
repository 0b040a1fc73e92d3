"""Values kept by key within a budget of bytes; what was used least recently goes first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import RLock
from typing import Generic, TypeVar

V = TypeVar("V")


class ByteCache(Generic[V]):
    """Safe to share between threads; a value is made by one thread at a time."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._used = 0
        self._lock = RLock()

    def get(self, key: Hashable, make: Callable[[], V], size: Callable[[V], int]) -> V:
        """The value of `key`, made if it is not held. One above the whole budget is held until the next one comes."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            value = make()
            self._values[key] = value, size(value)
            self._used += self._values[key][1]
            while self._used > self.budget and len(self._values) > 1:
                self._used -= self._values.popitem(last=False)[1][1]
            return value
