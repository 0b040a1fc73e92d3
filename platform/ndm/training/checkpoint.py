"""Checkpoints on disk: safetensors and JSON, every file hashed, the manifest published last, broken ones walked over.

A checkpoint is a folder named after the examples seen. It is written under a temporary name, synced, and renamed; it counts
only if its manifest is there and every file has the size and SHA-256 the manifest says. Nothing in it is ever unpickled.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load, save

from ndm.training.state import Tensors

log = logging.getLogger("ndm.training")

FORMAT = 1


class Checkpoint(NamedTuple):
    path: Path
    tensors: Tensors
    position: int
    """Examples seen."""
    meta: dict[str, Any]


class Broken(Exception):
    """A checkpoint that must not be used; the message says which check failed."""


def write(folder: Path, position: int, tensors: Tensors, meta: Mapping[str, Any], keep: int) -> Path:
    """Publish a checkpoint in `folder`, then delete all but the newest `keep` good ones."""
    folder.mkdir(parents=True, exist_ok=True)
    final, temporary = folder / f"{position:012d}", folder / f".{position:012d}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    files: dict[str, dict[str, Any]] = {}
    for part, named in tensors.items():
        payload = save({name: tensor.detach().contiguous() for name, tensor in named.items()})
        _write_synced(temporary / f"{part}.safetensors", payload)
        files[f"{part}.safetensors"] = {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    manifest = {"format": FORMAT, "position": position, "meta": dict(meta), "files": files}
    _write_synced(temporary / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode())
    _sync_folder(temporary)
    if final.exists():  # a broken one, or the same position of a run that was killed and repeated
        shutil.rmtree(final)
    temporary.rename(final)
    _sync_folder(folder)
    _prune(folder, keep)
    return final


def read(path: Path) -> Checkpoint:
    """One checkpoint, verified.

    Raises:
        Broken: a file is missing, of another size or hash, or the manifest is not of this format.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        if manifest["format"] != FORMAT:
            raise Broken(f"its format is {manifest['format']}, not {FORMAT}")
        tensors: Tensors = {}
        for name, expected in manifest["files"].items():
            payload = (path / Path(name).name).read_bytes()
            if len(payload) != expected["bytes"] or hashlib.sha256(payload).hexdigest() != expected["sha256"]:
                raise Broken(f"{name} is not what the manifest says")
            tensors[name.removesuffix(".safetensors")] = load(payload)
        return Checkpoint(path, tensors, int(manifest["position"]), dict(manifest["meta"]))
    except FileNotFoundError as error:
        raise Broken(f"{Path(str(error.filename)).name} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Broken(f"it cannot be read ({type(error).__name__})") from error


def candidates(folder: Path) -> list[Path]:
    """Published checkpoints, newest first, not yet verified."""
    return sorted((p for p in folder.glob("[0-9]*") if p.is_dir()), reverse=True)


def latest(folder: Path) -> Checkpoint | None:
    """The newest good checkpoint; a broken one is passed over with a warning that names it."""
    return next(_good(folder), None)


def _good(folder: Path) -> Iterator[Checkpoint]:
    for path in candidates(folder):
        try:
            yield read(path)
        except Broken as error:
            log.warning("Checkpoint %s is passed over: %s.", path.name, error)


def _prune(folder: Path, keep: int) -> None:
    for stale in candidates(folder)[keep:]:
        shutil.rmtree(stale, ignore_errors=True)
    for partial in folder.glob(".*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def _write_synced(path: Path, payload: bytes) -> None:
    with path.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
