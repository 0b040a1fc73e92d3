"""What tests of hostile files share: a payload that leaves a trace where it runs, and limits on what may happen."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from ndm.errors import UserError

SECONDS = 300
"""More than any refusal takes on a loaded machine: beyond it, something hangs."""
MOST_MEMORY = 2**29
"""Bytes by which a refusal may make the process larger."""


class Payload:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


@contextmanager
def bounded() -> Iterator[None]:
    """What takes too long inside is a failure, and so is what grows."""

    def late(*_: object) -> None:
        pytest.fail(f"not refused within {SECONDS} s")

    memory, handler = psutil.Process().memory_info().rss, signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
    assert psutil.Process().memory_info().rss - memory < MOST_MEMORY


def refused(action: Callable[[], Any], *words: str) -> str:
    """The sentence by which something is refused, within its limits."""
    with bounded(), pytest.raises(UserError) as caught:
        action()
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 1000
    assert [word for word in words if word not in sentence] == [], sentence
    return sentence
