"""The prepared data sets of a folder, on a disk or in a store: which there are, and what each is."""

from pathlib import Path

from ndm.data.folders import Folder, at, below
from ndm.data.manifest import FILE, Manifest
from ndm.data.places import Place
from ndm.data.sources._base import SPLITS
from ndm.errors import UserError


def folders(root: Place) -> list[Folder]:
    """The data sets in a folder, by name, or the one that it is.

    Raises:
        UserError: the store has no such bucket or does not answer.
    """
    return [folder for folder in (*below(root), at(root)) if _complete(folder)]


def named(root: Place, name: str) -> Folder:
    """The folder of the data set `name`.

    Raises:
        UserError: there is none of that name; the sentence lists those there are.
    """
    known = {folder.name: folder for folder in folders(root)}
    if name not in known:
        there = f"there are {', '.join(known)}" if known else "there is none yet; prepare one: ndm prepare EXPERIMENT"
        raise UserError(f"There is no data set {name} in {root}: {there}.")
    return known[name]


def _complete(folder: Folder) -> bool:
    return (folder / FILE).is_file() if isinstance(folder, Path) else FILE in folder.sizes()


def summary(folder: Folder) -> str:
    """One line: examples by split, shape, levels and hash."""
    manifest = Manifest.read(folder)
    splits = " + ".join(f"{manifest.rows(split):,}" for split in SPLITS)
    shape = "x".join(map(str, manifest.shape))
    values = f"{manifest.levels} levels" if manifest.levels else "continuous"
    return f"{splits} examples of {shape}, {values}, {manifest.bytes / 1e6:,.1f} MB, hash {manifest.hash[:12]}"


def details(folder: Folder) -> list[tuple[str, str]]:
    """All that the manifest says, in labelled rows; a row for each shard at the end."""
    manifest = Manifest.read(folder)
    return [
        ("data set", f"{manifest.name} {manifest.version}"),
        ("hash", manifest.hash),
        ("shape", "x".join(map(str, manifest.shape))),
        ("values", f"{manifest.dtype}, " + (f"levels 0 to {manifest.levels - 1}" if manifest.levels else "continuous")),
        ("classes", str(manifest.labels)),
        ("preparation", f"version {manifest.preparation}, rows shuffled with seed {manifest.row_seed}"),
        *((split, f"{manifest.rows(split):,} examples in {len(manifest.splits[split])} shards") for split in SPLITS),
        *(
            (shard.file, f"{shard.rows:,} rows, {shard.bytes:,} bytes, SHA-256 {shard.sha256}")
            for split in SPLITS
            for shard in manifest.shards(split)
        ),
    ]
