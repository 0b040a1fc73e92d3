"""The prepared data sets of a folder: which there are, and what each is."""

from pathlib import Path

from ndm.data.manifest import FILE, Manifest
from ndm.data.sources._base import SPLITS
from ndm.errors import UserError


def folders(root: Path) -> list[Path]:
    """The data sets in a folder, by name."""
    return sorted(path.parent for path in root.glob(f"*/{FILE}"))


def named(root: Path, name: str) -> Path:
    """The folder of the data set `name`.

    Raises:
        UserError: there is none of that name; the sentence lists those there are.
    """
    known = {folder.name: folder for folder in folders(root)}
    if name not in known:
        there = f"there are {', '.join(known)}" if known else "there is none yet; prepare one: ndm prepare EXPERIMENT"
        raise UserError(f"There is no data set {name} in {root}: {there}.")
    return known[name]


def summary(folder: Path) -> str:
    """One line: examples by split, shape, levels and hash."""
    manifest = Manifest.read(folder)
    splits = " + ".join(f"{manifest.rows(split):,}" for split in SPLITS)
    shape = "x".join(map(str, manifest.shape))
    values = f"{manifest.levels} levels" if manifest.levels else "continuous"
    return f"{splits} examples of {shape}, {values}, {manifest.bytes / 1e6:,.1f} MB, hash {manifest.hash[:12]}"


def details(folder: Path) -> list[tuple[str, str]]:
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
