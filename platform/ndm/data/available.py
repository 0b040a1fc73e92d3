"""A source's prepared data set, wherever data sets are kept: found there, or prepared and put there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ndm.data import places
from ndm.data.folders import Folder, Remote, require_bucket
from ndm.data.manifest import FILE, Manifest
from ndm.data.prepare import Each, Progress, asked, complete, prepare
from ndm.data.sources import SourceConfig


def where(source: SourceConfig, kept: str | None, root: Path, limit: int) -> Folder:
    """The folder of a source's data set in `kept`, a folder or s3://bucket/prefix, by default `data` in the root."""
    place = places.at(kept or str(root / "data"))
    identity = source.identity()
    name = f"{identity['name']}-{identity['version']}"
    return Remote(place / name, root / ".cache" / "shards", limit) if place.system else Path(place.path) / name


def available(
    source: SourceConfig,
    kept: str | None,
    root: Path,
    *,
    limit: int,
    progress: Callable[[str], Progress],
    verify: bool = False,
    each: Each = map,
) -> Folder:
    """The data set of a source, see `where`; prepared if it is not there.

    What goes to a store is prepared below `root` first, where its cache is too; the manifest is uploaded last. With
    `verify` every byte is read, past the cache. `progress` makes the callback of something that is counted.

    Raises:
        UserError: as `prepare`, or the store has no such bucket or does not answer.
    """
    folder, preparing = where(source, kept, root, limit), progress("preparing examples")
    if not isinstance(folder, Remote):
        key = "storage.data" if kept else "storage.root"
        return prepare(source, folder.parent, progress=preparing, verify=verify, each=each, key=key)
    if FILE in folder.sizes() and complete(replace(folder, cache=None), asked(source), verify):
        return folder
    require_bucket(folder.place)  # not only when hours of preparation are to be uploaded
    local = prepare(source, root / "data", progress=preparing, verify=verify, each=each)
    manifest = Manifest.read(local)
    files = [shard.file for split in manifest.splits for shard in manifest.shards(split)]
    folder.upload(local, [*files, FILE], progress(f"uploading {folder.name}, files"))
    return folder
