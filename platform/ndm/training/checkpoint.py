"""Checkpoints: safetensors and JSON, every file hashed, the manifest published last, broken ones walked over.

A checkpoint is a folder named after the examples seen, on a disk or in another store. It counts only if its manifest is
whole and every file has the size and SHA-256 the manifest says. Nothing in it is ever unpickled.
"""

import contextlib
import hashlib
import logging
import math
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save

from ndm.listing import File, Sealed, described
from ndm.training.state import Tensors
from ndm.training.store import LAST, Disk, Store

log = logging.getLogger("ndm.training")

SUFFIX = ".safetensors"
LONGEST = 2**24
"""Bytes of a manifest."""
VALIDATION = "validation"
"""Key of `meta`: the validation bound at the position in bits per dimension, by which the best is told."""

Home = Path | Store
"""Where the checkpoints of a run are: a folder of the disk, or another store."""


class Checkpoint(NamedTuple):
    """What `read` found."""

    name: str
    tensors: Tensors
    position: int
    """Examples seen."""
    meta: dict[str, Any]


class Manifest(Sealed):
    """What a checkpoint consists of."""

    format: int = 1
    position: int
    meta: dict[str, Any]
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.]*\.safetensors$")], File]

    @property
    def parts(self) -> list[str]:
        """Names of the parts of the state."""
        return [file.removesuffix(SUFFIX) for file in self.files]


class Broken(Exception):
    """A checkpoint that must not be used; the message says which check failed."""


Good = dict[str, float]
"""Verified checkpoints by name, with their validation bound; infinite where there is none."""


def write(
    home: Home, position: int, tensors: Tensors, meta: Mapping[str, Any], keep: int | None, good: Good | None = None
) -> str:
    """Publish a checkpoint, then delete all but the newest `keep` good ones and the best by validation; its name.

    With keep=None nothing is deleted. What is in `good` is not verified again; it is brought up to date.

    Raises:
        OSError: it cannot be kept there; those before it are untouched.
    """
    store, good = _store(home), {} if good is None else good
    files: dict[str, bytes] = {}
    for part, named in tensors.items():
        files[f"{part}{SUFFIX}"] = save({name: tensor.detach().contiguous() for name, tensor in named.items()})
    listed = {name: described(content) for name, content in files.items()}
    manifest = Manifest(position=position, meta=dict(meta), files=listed).sealed()
    name = _name(position)
    good.pop(name, None)
    store.put(name, files | {LAST: manifest.text().encode()})
    good[name] = _validation(manifest)
    if keep is not None:
        _prune(store, keep, good)
    return name


def read(home: Home, name: str, parts: Container[str] | None = None) -> Checkpoint:
    """One checkpoint, verified; with only some of its parts, if they are named.

    Raises:
        Broken: a file is missing or not what the manifest says, or the manifest is not of this format or was changed.
    """
    store = _store(home)
    manifest, tensors = _manifest(store, name), Tensors()
    for file, expected in manifest.files.items():
        if parts is not None and file.removesuffix(SUFFIX) not in parts:
            continue
        try:
            tensors[file.removesuffix(SUFFIX)] = load(_payload(store, name, file, expected))
        except SafetensorError:
            raise Broken(f"{file} is not in the format safetensors") from None
    return Checkpoint(name, tensors, manifest.position, manifest.meta)


def verify(home: Home, name: str) -> Manifest:
    """Check every byte of a checkpoint without loading its tensors; errors as for `read`."""
    store = _store(home)
    manifest = _manifest(store, name)
    for file, expected in manifest.files.items():
        _payload(store, name, file, expected)
    return manifest


def copy(source: Home, target: Home, name: str) -> None:
    """Copy a checkpoint byte by byte, verified on the way.

    Raises:
        Broken: as for `read`.
        OSError: it cannot be kept there.
    """
    store = _store(source)
    manifest = _manifest(store, name)
    files = {file: _payload(store, name, file, expected) for file, expected in manifest.files.items()}
    _store(target).put(name, files | {LAST: _bytes(store, name, LAST, LONGEST)})


def equal(source: Home, target: Home, name: str) -> bool:
    """Whether both have the same checkpoint of that name, as their manifests say."""
    try:
        return _manifest(_store(source), name).sha256 == _manifest(_store(target), name).sha256
    except Broken:
        return False


def newest_and_best(home: Home) -> list[str]:
    """Names of the newest checkpoint and of the best by validation, as their manifests say; the payload is not read."""
    store, listed = _store(home), Good()
    for name in candidates(home):
        with contextlib.suppress(Broken):
            listed[name] = _validation(_manifest(store, name))
    return list(dict.fromkeys([*list(listed)[:1], *filter(None, [_best(listed)])]))


def candidates(home: Home) -> list[str]:
    """Names of the published checkpoints, newest first, not yet verified."""
    return sorted((name for name in _store(home).names() if name.isdecimal()), key=int, reverse=True)


def latest(home: Home) -> Checkpoint | None:
    """The newest good checkpoint; a broken one is passed over with a warning that names it."""
    for name in candidates(home):
        try:
            return read(home, name)
        except Broken as error:
            log.warning("Checkpoint %s is passed over: %s.", name, error)
    return None


def snapshots(home: Home) -> Home:
    """Where the averages of the weights that a run keeps for good are: beside its checkpoints, in their form."""
    return home / "snapshots" if isinstance(home, Path) else home.below("snapshots")


def best(home: Home) -> str | None:
    """Name of the good checkpoint with the lowest validation bound, the newer of equal ones; None if none has one."""
    store = _store(home)
    found = _good(store, candidates(store), {})
    return _best(found)


def _store(home: Home) -> Store:
    return Disk(home) if isinstance(home, Path) else home


def _manifest(store: Store, name: str) -> Manifest:
    text = _bytes(store, name, LAST, LONGEST)
    try:
        manifest = Manifest.read(text)
    except ValueError as error:
        raise Broken(f"its manifest {error}") from None
    if name != _name(manifest.position):
        raise Broken(f"it is the one at {manifest.position}, under another name")
    return manifest


def _payload(store: Store, name: str, file: str, expected: File) -> bytes:
    """The bytes of a file, which are those the manifest was written for."""
    content = _bytes(store, name, file, expected.bytes)
    if len(content) != expected.bytes or hashlib.sha256(content).hexdigest() != expected.sha256:
        raise Broken(f"{file} is not what the manifest says")
    return content


def _bytes(store: Store, name: str, file: str, most: int) -> bytes:
    try:
        return store.get(name, file, most)
    except FileNotFoundError:
        raise Broken(f"{file} is missing") from None
    except OSError as error:
        raise Broken(f"{file} cannot be read ({error.strerror})") from None


def _name(position: int) -> str:
    return f"{position:012d}"


def _validation(manifest: Manifest) -> float:
    value = manifest.meta.get(VALIDATION)
    return value if isinstance(value, float) and not math.isnan(value) else math.inf


def _good(store: Store, names: list[str], known: Good) -> Good:
    """Those of the names that are whole, in their order."""
    found: Good = {}
    for name in names:
        if name in known:
            found[name] = known[name]
        else:
            with contextlib.suppress(Broken):
                found[name] = _validation(verify(store, name))
    return found


def _best(good: Good) -> str | None:
    name = min(good, key=lambda name: (good[name], -int(name)), default=None)
    return name if name is not None and good[name] < math.inf else None


def _prune(store: Store, keep: int, good: Good) -> None:
    """Delete what is older than the newest `keep` good checkpoints, but the best; broken ones are not among them."""
    names = candidates(store)
    found = _good(store, names, good)
    good.clear()
    good |= found
    newest = list(found)[:keep]
    for name in names[names.index(newest[-1]) + 1 :] if len(newest) == keep else []:
        if name != _best(found):
            store.delete(name)
            good.pop(name, None)
