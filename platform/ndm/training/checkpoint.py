"""Checkpoints on disk: safetensors and JSON, every file hashed, the manifest published last, broken ones walked over.

A checkpoint is a folder named after the examples seen. It is written under a temporary name, synced, and renamed; it
counts only if its manifest is whole and every file has the size and SHA-256 the manifest says. Nothing in it is ever
unpickled.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from ndm.training.state import Tensors

log = logging.getLogger("ndm.training")

FORMAT, SUFFIX = 1, ".safetensors"


class Checkpoint(NamedTuple):
    """What `read` found in a folder."""

    path: Path
    tensors: Tensors
    position: int
    """Examples seen."""
    meta: dict[str, Any]


class File(BaseModel):
    """One file of a checkpoint: a part of the state."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a checkpoint consists of, with a hash of all that it says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int = FORMAT
    position: int
    meta: dict[str, Any]
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.]*\.safetensors$")], File]
    sha256: str = ""

    def digest(self) -> str:
        """SHA-256 of the rest."""
        rest = self.model_dump(mode="json", exclude={"sha256"})
        return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


class Broken(Exception):
    """A checkpoint that must not be used; the message says which check failed."""


def write(folder: Path, position: int, tensors: Tensors, meta: Mapping[str, Any], keep: int | None) -> Path:
    """Publish a checkpoint in `folder`, then delete all but the newest `keep` good ones; None deletes nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    final, temporary = folder / _name(position), folder / f".{_name(position)}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    files: dict[str, File] = {}
    for part, named in tensors.items():
        payload = save({name: tensor.detach().contiguous() for name, tensor in named.items()})
        _write_synced(temporary / f"{part}{SUFFIX}", payload)
        files[f"{part}{SUFFIX}"] = File(bytes=len(payload), sha256=hashlib.sha256(payload).hexdigest())
    manifest = Manifest(position=position, meta=dict(meta), files=files)
    manifest = manifest.model_copy(update={"sha256": manifest.digest()})
    _write_synced(temporary / "manifest.json", manifest.model_dump_json(indent=1).encode())
    _sync_folder(temporary)
    if final.exists():  # a broken one, or the same position of a run that was killed and repeated
        shutil.rmtree(final)
    temporary.rename(final)
    _sync_folder(folder)
    if keep is not None:
        _prune(folder, keep)
    return final


def read(path: Path, parts: Container[str] | None = None) -> Checkpoint:
    """One checkpoint, verified; with only some of its parts, if they are named.

    Raises:
        Broken: a file is missing or not what the manifest says, or the manifest is not of this format or was changed.
    """
    manifest, tensors = _manifest(path), Tensors()
    for name, file in manifest.files.items():
        if parts is not None and name.removesuffix(SUFFIX) not in parts:
            continue
        try:
            tensors[name.removesuffix(SUFFIX)] = load(_payload(path, name, file))
        except SafetensorError:
            raise Broken(f"{name} is not in the format safetensors") from None
    return Checkpoint(path, tensors, manifest.position, manifest.meta)


def verify(path: Path) -> list[str]:
    """Check every byte of a checkpoint without loading its tensors; returns its parts. Errors as for `read`."""
    files = _manifest(path).files
    for name, file in files.items():
        _payload(path, name, file)
    return [name.removesuffix(SUFFIX) for name in files]


def _manifest(path: Path) -> Manifest:
    text = _bytes(path / "manifest.json")
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "form"
        raise Broken(f"its manifest cannot be used ({where}: {first['msg']})") from None
    if manifest.format != FORMAT:
        raise Broken(f"its format is {manifest.format}, not {FORMAT}")
    if manifest.sha256 != manifest.digest():
        raise Broken("its manifest was changed")
    if path.name != _name(manifest.position):
        raise Broken(f"it is the one at {manifest.position}, under another name")
    return manifest


def _payload(path: Path, name: str, expected: File) -> bytes:
    """The bytes of a file, which are those the manifest was written for."""
    payload = _bytes(path / name)
    if len(payload) != expected.bytes or hashlib.sha256(payload).hexdigest() != expected.sha256:
        raise Broken(f"{name} is not what the manifest says")
    return payload


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Broken(f"{path.name} is missing") from None
    except OSError as error:
        raise Broken(f"{path.name} cannot be read ({error.strerror})") from None


def _name(position: int) -> str:
    return f"{position:012d}"


def candidates(folder: Path) -> list[Path]:
    """Published checkpoints, newest first, not yet verified."""
    found = (path for path in folder.glob("[0-9]*") if path.name.isdecimal() and path.is_dir())
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def latest(folder: Path) -> Checkpoint | None:
    """The newest good checkpoint; a broken one is passed over with a warning that names it."""
    for path in candidates(folder):
        try:
            return read(path)
        except Broken as error:
            log.warning("Checkpoint %s is passed over: %s.", path.name, error)
    return None


def _prune(folder: Path, keep: int) -> None:
    """Delete what is older than the newest `keep` good checkpoints; a broken one does not count as one of them."""
    good = 0
    for path in candidates(folder):
        if good == keep:
            shutil.rmtree(path, ignore_errors=True)
            continue
        with contextlib.suppress(Broken):
            verify(path)
            good += 1
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
