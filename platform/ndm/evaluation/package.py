"""The folder in which a trained model is handed on: all that it takes to use it without the data and without its run.

Whoever reads one trusts nothing in it: hashes tell damage, and what somebody made up is caught by its form, as weights
are safetensors, the configuration is plain values, and nothing is unpickled. `ndm.evaluation.publish` writes it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ndm import files, notation, presets
from ndm.build import build_objective
from ndm.config import Experiment
from ndm.errors import UserError
from ndm.listing import File, Listing, described
from ndm.objectives import Objective

LIST = "manifest.json"
"""Written last."""
CARD, CONFIG, LICENCE, PICTURE = "README.md", "config.yaml", "LICENSE", "samples.png"
RESULTS, WEIGHTS = "results.json", "model.safetensors"
LONGEST = 2**20
"""Bytes of a manifest."""
FILES = frozenset({CARD, CONFIG, LICENCE, PICTURE, RESULTS, WEIGHTS})
PLACES = ("run", "scaling", "storage", "tracking")
"""Sections of an experiment that say where it ran."""
REMEDY = "fetch it again, or export the run again."

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """Immutable, typed without coercion, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Data(Record):
    """What of the data a model is made for."""

    name: str
    version: str
    hash: Digest
    shape: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]
    """Of one example."""
    levels: int = Field(ge=0)
    """Values a stored number can take; 0 for continuous data."""


class About(Record):
    """What a package is."""

    kind: Literal["ndm model"] = "ndm model"
    run: str
    experiment: Digest
    """Of all that decides the training's result."""
    position: int = Field(ge=0)
    """Examples that the model has seen."""
    average: dict[str, Any] = {}
    """How the weights were averaged; empty for the constant decay of the training."""
    parameters: int
    data: Data
    code: dict[str, str]
    """Commit and versions of what exported it."""


@dataclass(frozen=True)
class Package:
    """What `read` found."""

    about: About
    experiment: Experiment
    """Without its places."""
    tensors: dict[str, Tensor]
    card: str
    results: dict[str, Any]
    listing: Listing


def read(folder: Path) -> Package:
    """A package, every byte of it checked; its tensors are yet to be held against the model, see `restore`.

    Raises:
        UserError: it is damaged, or no such package.
    """
    listing, about = listed(folder)
    contents = {name: _content(folder, name, expected) for name, expected in listing.files.items()}
    try:
        tree = notation.read(contents[CONFIG].decode())
        if not isinstance(tree, dict) or not tree.keys().isdisjoint(PLACES):
            raise ValueError("it must be an experiment without places")
        experiment = presets.resolve(tree)
    except ValueError as error:
        raise _unusable(folder, f"{CONFIG} is no experiment: {str(error).rstrip('.')}") from None
    if experiment.digest() != about.experiment:
        raise _unusable(folder, f"{CONFIG} is another experiment than {LIST} says")
    try:
        tensors, results = load(contents[WEIGHTS]), json.loads(contents[RESULTS])
        card = contents[CARD].decode()
    except SafetensorError:
        raise _unusable(folder, f"{WEIGHTS} is not in the format safetensors") from None
    except ValueError:
        raise _unusable(folder, f"{RESULTS} or {CARD} cannot be read") from None
    return Package(about, experiment, tensors, card, results, listing)


def restore(package: Package, folder: Path) -> Objective:
    """The trained objective of the package in `folder`, on the CPU, in evaluation mode.

    Raises:
        UserError: the tensors are not those of the model that the configuration describes.
    """
    data = package.about.data
    with torch.device("meta"):  # which has shapes and no memory, so that nothing made up can fill it
        wanted = _described(_build(package, folder).state_dict())
    if (found := _described(package.tensors)) != wanted:
        name = min(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        there, here = found.get(name, "missing"), wanted.get(name, "unknown")
        raise _unusable(folder, f"the tensor {name!r:.100} is {there} in {WEIGHTS} and {here} in the model of {CONFIG}")
    if not all(bool(tensor.isfinite().all()) for tensor in package.tensors.values()):
        raise _unusable(folder, f"{WEIGHTS} has numbers that are not finite")
    objective = build_objective(package.experiment, data.shape, data.levels).requires_grad_(False).eval()
    objective.load_state_dict(package.tensors)
    return objective


def _build(package: Package, folder: Path) -> Objective:
    try:
        return build_objective(package.experiment, package.about.data.shape, package.about.data.levels)
    except (ValueError, RuntimeError, AssertionError, IndexError) as error:
        why = str(error).partition("\n")[0].rstrip(".") or "the network does not fit the data"
        raise _unusable(folder, f"no model can be built of it ({why})") from None


def _described(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The type and shape of each tensor, in words."""
    return {name: f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for name, t in tensors.items()}


def listed(folder: Path) -> tuple[Listing, About]:
    """What the folder says of itself; errors as for `read`."""
    try:
        listing = Listing.read(files.content(folder / LIST, LONGEST))
        about = About.model_validate_json(json.dumps(listing.about))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "form"
        raise _unusable(folder, f"{LIST} is not that of a model ({where})") from None
    except ValueError as error:
        raise _unusable(folder, f"{LIST} {error}") from None
    except OSError as error:
        raise _unusable(folder, f"{LIST} cannot be read ({error.strerror})") from None
    if listing.files.keys() != FILES:
        odd = min(listing.files.keys() ^ FILES)
        raise _unusable(folder, f"{odd!r:.100} is {'missing' if odd in FILES else 'unknown'} in {LIST}")
    return listing, about


def _content(folder: Path, name: str, expected: File) -> bytes:
    """The bytes of a file, which are those that are used: what is read twice could be two things."""
    try:
        content = (folder / name).read_bytes() if (folder / name).stat().st_size == expected.bytes else b""
    except OSError as error:
        raise _unusable(folder, f"{name} cannot be read ({error.strerror})") from None
    if described(content) != expected:
        raise _unusable(folder, f"{name} is not what {LIST} says")
    return content


def _unusable(folder: Path, why: str) -> UserError:
    return UserError(f"The exported model in {folder} cannot be used: {why}; {REMEDY}")
