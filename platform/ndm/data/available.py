"""A source's prepared data set, wherever data sets are kept: found there, or prepared and put there."""

from collections.abc import Callable
from pathlib import Path

from ndm.data import places
from ndm.data.folders import Folder, Remote
from ndm.data.manifest import FILE, Manifest
from ndm.data.prepare import Each, Progress, asked, complete, prepare
from ndm.data.sources import SourceConfig


def available(
    source: SourceConfig,
    kept: str,
    root: Path,
    *,
    limit: int,
    progress: Callable[[str], Progress],
    verify: bool = False,
    each: Each = map,
) -> Folder:
    """The data set of a source in `kept`, a folder or s3://bucket/prefix; prepared if it is not there.

    What goes to a store is prepared below `root` first, where its cache is too; the manifest is uploaded last.
    `progress` makes the callback of something that is counted.

    Raises:
        UserError: as `prepare`, or the store does not answer.
    """
    place = places.at(kept)
    preparing = progress("preparing examples")
    if not place.system:
        return prepare(source, Path(place.path), progress=preparing, verify=verify, each=each)
    wanted = asked(source)
    remote = Remote(place / f"{wanted['name']}-{wanted['version']}", root / ".cache" / "shards", limit)
    if FILE in remote.sizes() and complete(remote, wanted, verify):
        return remote
    local = prepare(source, root / "data", progress=preparing, verify=verify, each=each)
    manifest = Manifest.read(local)
    files = [shard.file for split in manifest.splits for shard in manifest.shards(split)]
    remote.upload(local, [*files, FILE], progress(f"uploading {remote.name}, files"))
    return remote
