"""Writes the folder in which a trained model is handed on; it appears whole or not at all."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from ndm.config import Experiment
from ndm.data.publish import publish as publish_file
from ndm.errors import UserError
from ndm.evaluation.package import FILES, LIST, PLACES, About, listed, read
from ndm.listing import Listing, described
from ndm.objectives import Objective

PATHS = (("data", "path"), ("samples", "weights"))
"""Keys of other sections that are places of files."""


def portable(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain values without anything that says where it ran; an equal digest."""
    tree = {key: value for key, value in experiment.model_dump(mode="json").items() if key not in PLACES}
    for section, key in PATHS:
        tree[section].pop(key, None)
    return tree


def weights(objective: Objective) -> bytes:
    """All tensors of an objective."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in objective.state_dict().items()})


def publish(folder: Path, about: About, files: Mapping[str, bytes]) -> Listing:
    """Write the files and their listing beside `folder`, read them back, and put them in its place.

    What is there already stays as it is if it is the same, and gives way if it is of the same run.

    Raises:
        UserError: something else is there, or the folder cannot be written.
    """
    assert files.keys() == FILES
    listing = Listing.made({name: described(files[name]) for name in sorted(files)}, about.model_dump(mode="json"))
    try:
        if _there(folder, about) == listing.sha256:
            return listing
        partial, old = (folder.with_name(f".{folder.name}.{end}") for end in ("partial", "old"))
        for path in (partial, old):
            shutil.rmtree(path, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, content in [*files.items(), (LIST, listing.text().encode())]:
            publish_file(partial / name, content)
        read(partial)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(f"The export cannot be written to {folder} ({error.strerror}); choose another --to.") from None
    return listing


def _there(folder: Path, about: About) -> str:
    """The hash of what is in the place of a package, empty where nothing of worth is.

    Raises:
        UserError: it is not a package of the same run.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return ""
    try:
        listing, found = listed(folder)
    except UserError:
        raise UserError(f"{folder} is there and holds no exported model; move it away, or choose --to.") from None
    if (found.run, found.experiment) != (about.run, about.experiment):
        raise UserError(f"{folder} holds a model of another run, {found.run}; move it away, or choose --to.")
    return "" if listing.wanting(folder) else listing.sha256
