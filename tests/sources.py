"""Reads sources as a user's configuration does, and the sentences that a user is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import originals
import pytest

from ndm.errors import UserError
from ndm.registry import variant


def source(kind: str, **keys: Any) -> Any:
    return variant("ndm.data.sources", kind).Config(**keys)


def sentence(read: Callable[[], Any], *words: str) -> str:
    """What the person reads, who is told these words."""
    with pytest.raises(UserError) as caught:
        read()
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 700
    for word in words:
        assert word in text, text
    return text


def everything(config: Any) -> list[Any]:
    return [part.read() for part in config.open().parts]


def pairs(raw: np.ndarray, labels: np.ndarray) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), int(label)) for image, label in zip(raw, labels, strict=True)]


def damaged_copy(kind: str, tmp_path: Path) -> tuple[Any, Path]:
    written = originals.WRITERS[kind](tmp_path)
    return source(kind, **written.keys), tmp_path
