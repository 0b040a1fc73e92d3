"""Runs in a store, as `ndm push` leaves them, and jobs on a cluster: what `ndm pull` brings.

A run lies there as it lies in a folder of runs. `manifest.json`, written last and only over the version that was known,
lists its files with their SHA-256. Checkpoints are not in it: each has a manifest of its own, and a training adds some
while the rest stays. Where its maker kept runs, and which server recorded them, is left out.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ndm import notation, presets
from ndm.config import handed_on
from ndm.data import places
from ndm.data.folders import require_bucket
from ndm.data.places import Place
from ndm.data.publish import publish
from ndm.errors import UserError
from ndm.listing import File, Listing, described
from ndm.mistakes import hint, shown
from ndm.runs import RunFolder, about
from ndm.runtime import objects
from ndm.runtime.storage import Bucket
from ndm.terminal import Terminal
from ndm.training import checkpoint
from ndm.training.checkpoint import Home

LISTING = "manifest.json"
KNOWN, INTENDED = "shelf.json", "shelf.next.json"
"""The version in the store that the folder was last equal to, and the one that was being written over it."""
OWN = frozenset({LISTING, KNOWN, INTENDED, "spool.lock"})
CHECKPOINTS = "checkpoints"
ASIDE = (f"{CHECKPOINTS}/", "likelihood/blocks/")
PARTS = ("weights", "samples", "likelihood", "all")
"""What can be pulled: the newest and the best checkpoint, samples, tables of images, or all, each with the records."""


@dataclass(frozen=True)
class Shelf:
    """The runs of a store."""

    place: Place

    @classmethod
    def of(cls, store: str) -> "Shelf":
        """Of what storage.store names."""
        return cls(places.at(places.inside(store, "runs")))

    def home(self, name: str) -> Home:
        """Where the checkpoints of a run are."""
        place = self.place / name / CHECKPOINTS
        return Bucket(place) if place.system else Path(place.path)

    def names(self) -> list[str]:
        """Of the runs that are there or being put there. UserError if the store does not answer."""
        return objects.names(self.place)

    def listing(self, name: str) -> Listing | None:
        """What is there of a run; None if it is not there.

        Raises:
            UserError: the listing is damaged, or the store does not answer.
        """
        found = self._read(name)
        return found[0] if found else None

    def require(self, name: str) -> Listing:
        """What is there of a run; errors as for `listing`, and UserError if it is not there."""
        plain = name == Path(name).name and not name.startswith(".")
        if (listing := self.listing(name) if plain else None) is None:
            raise UserError(f"There is no run {shown(name)} in {self.place}: {hint(name, self.names(), 'runs')}")
        return listing

    def listings(self) -> dict[str, Listing]:
        """All runs that are there, by name; errors as for `listing`."""
        names = self.names()
        with ThreadPoolExecutor(objects.THREADS) as pool:
            found = zip(names, pool.map(self.listing, names), strict=True)
            return {name: listing for name, listing in found if listing is not None}

    def publish(self, folder: RunFolder, terminal: Terminal) -> None:
        """Bring what is there up to the folder of a run, where a part of it may be missing; checkpoints are aside.

        Raises:
            UserError: another command has changed what is there, or the store does not take it.
        """
        there, mark = self._read(folder.name) or (None, None)
        files = {path: _as_sent(folder, path) for path in _paths(folder.path)}
        listing = Listing.made((there.files if there else {}) | files, about(folder))
        if there is not None and there.sha256 not in {listing.sha256, *_versions(folder)}:
            raise UserError(
                f"The run {folder.name} in {self.place} was changed by another command: look at it with ndm pull "
                f"{folder.name} --to another folder, or choose another run.name."
            )
        if there is None or there.sha256 != listing.sha256:
            publish(folder.path / INTENDED, listing.text().encode())
            new = [path for path, file in files.items() if there is None or there.files.get(path) != file]
            self._send(folder, listing, new, terminal)
            try:
                objects.replace(self.place / f"{folder.name}/{LISTING}", listing.text().encode(), mark)
            except objects.Changed:
                raise UserError(
                    f"The run {folder.name} in {self.place} was changed by another command meanwhile: repeat this one."
                ) from None
        publish(folder.path / KNOWN, listing.text().encode())
        (folder.path / INTENDED).unlink(missing_ok=True)

    def push_checkpoints(self, folder: RunFolder, terminal: Terminal) -> None:
        """Copy the good checkpoints of a folder, and its snapshots, that are not there; errors as for `publish`."""
        for source, target in _homes(folder.checkpoints, self.home(folder.name)):
            _copy(source, target, reversed(checkpoint.candidates(source)), terminal)

    def bring(self, folder: RunFolder, terminal: Terminal, what: str) -> None:
        """Fetch a run into its folder; what is there already is completed, and changes made there are not lost.

        Args:
            what: one of PARTS.

        Raises:
            UserError: there is no such run, or the folder has changes of its own that would be overwritten.
        """
        self._fetch(folder, self.require(folder.name), what, terminal)
        home = self.home(folder.name)
        if what == "all":
            for source, target in _homes(home, folder.checkpoints):
                _copy(source, target, reversed(checkpoint.candidates(source)), terminal)
        elif what == "weights":
            _copy(home, folder.checkpoints, checkpoint.newest_and_best(home), terminal)

    def catch_up(self, folder: RunFolder, terminal: Terminal) -> None:
        """Fetch the records of a run if there are newer ones than in the folder; its checkpoints stay where they are.

        Raises:
            UserError: as for `bring`.
        """
        listing = self.listing(folder.name)
        if listing is not None and listing.sha256 not in _versions(folder):
            self._fetch(folder, listing, "all", terminal)

    def remove(self, name: str) -> int:
        """Delete a run with its checkpoints, what makes it count first; returns how many bytes that were."""
        files = objects.files(self.place / name)
        objects.delete(self.place / name, sorted(files, key=lambda file: (not file.endswith(LISTING), file)))
        return sum(files.values())

    def _read(self, name: str) -> tuple[Listing, str] | None:
        found = objects.read(self.place / f"{name}/{LISTING}")
        if found is None:
            return None
        try:
            return Listing.read(found[0]), found[1]
        except ValueError as error:
            raise UserError(f"{LISTING} of the run {name} in {self.place} {error}: push the run again.") from None

    def _send(self, folder: RunFolder, listing: Listing, paths: list[str], terminal: Terminal) -> None:
        target = self.place / folder.name

        def send(path: str) -> None:
            if path in STRIPPED:
                objects.write(_without_places(folder.path / path), target / path)
            elif objects.send(folder.path / path, target / path) != listing.files[path]:
                raise UserError(f"{path} of the run {folder.name} was changed while it was sent: repeat the command.")

        objects.parallel(send, paths, _counting(terminal, f"sending {folder.name}", listing.files, paths))

    def _fetch(self, folder: RunFolder, listing: Listing, what: str, terminal: Terminal) -> None:
        known = _known(folder)
        wanted = [path for path in listing.files if _belongs(path, what) and _is_news(folder, path, listing, known)]
        objects.parallel(
            lambda path: objects.fetch(self.place / f"{folder.name}/{path}", listing.files[path], folder.path / path),
            wanted,
            _counting(terminal, f"fetching {folder.name}", listing.files, wanted),
        )
        publish(folder.path / KNOWN, listing.text().encode())


@contextmanager
def kept(store: str | None, folder: RunFolder, terminal: Terminal) -> Iterator[Callable[[], None]]:
    """For a command that works on a run: it begins with what is in the store, and leaves there what it made.

    Gives what publishes the run; it is called once more when the block is left. Without a store, all of it is nothing.

    Raises:
        UserError: as for `Shelf.bring` and `Shelf.publish`.
    """
    if store is None:
        yield lambda: None
        return
    shelf = Shelf.of(store)
    shelf.catch_up(folder, terminal)
    try:
        yield lambda: shelf.publish(folder, terminal)
    except BaseException:
        try:
            if folder.path.is_dir():
                shelf.publish(folder, terminal)
        except UserError as error:
            terminal.warn(str(error))  # beside what ended the command
        raise
    shelf.publish(folder, terminal)


def asked(words: Sequence[str], *, required: bool = False) -> tuple[Path, Shelf | None]:
    """The folder of runs and the store that a command is given as root=FOLDER and store=PLACE, or by the environment.

    Raises:
        UserError: a word is another, or a place is none; or a store is `required` and there is none.
    """
    full = [word if word.startswith("storage.") else f"storage.{word}" for word in words]
    for word, given in zip(words, full, strict=True):
        if given.partition("=")[0] not in ("storage.root", "storage.store"):
            raise UserError(f"{shown(word)} is not of the form root=FOLDER or store=s3://bucket/prefix.")
    storage = presets.storage(full)
    if storage.store is None:
        if required:
            raise UserError("There is no store: give it as store=s3://bucket/prefix, or set NDM_STORE.")
        return Path(storage.root).absolute(), None
    shelf = Shelf.of(storage.store)
    if shelf.place.system:
        require_bucket(shelf.place, "correct store=...")
    return Path(storage.root).absolute(), shelf


def _homes(source: Home, target: Home) -> list[tuple[Home, Home]]:
    """Those of the checkpoints, and those of the averages beside them."""
    return [(source, target), (checkpoint.snapshots(source), checkpoint.snapshots(target))]


def _copy(source: Home, target: Home, names: Iterable[str], terminal: Terminal) -> None:
    there = set(checkpoint.candidates(target))
    for name in names:
        if name in there and checkpoint.equal(source, target, name):
            continue
        terminal.progress(f"copying checkpoint {int(name)}")
        try:
            checkpoint.copy(source, target, name)
        except checkpoint.Broken as error:
            terminal.warn(f"Checkpoint {name} is left out: {error}.")
        except OSError as error:
            raise UserError(f"Checkpoint {name} cannot be copied to {target} ({error}): repeat the command.") from None


def _paths(folder: Path) -> list[str]:
    """The files of a run that are handed on."""
    found = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in found if path not in OWN and not path.startswith(ASIDE) and "/." not in f"/{path}"]


def _json(content: bytes) -> bytes:
    return json.dumps(handed_on(json.loads(content)), indent=1).encode()


def _yaml(content: bytes) -> bytes:
    return notation.write(handed_on(notation.read(content.decode()))).encode()


STRIPPED: Mapping[str, Callable[[bytes], bytes]] = {"experiment.json": _json, "experiment.yaml": _yaml}


def _without_places(path: Path) -> bytes:
    return STRIPPED[path.name](path.read_bytes())


def _as_sent(folder: RunFolder, path: str) -> File:
    """A file of a run as the store has it."""
    file = folder.path / path
    return described(_without_places(file)) if path in STRIPPED else File.of(file)


def _known(folder: RunFolder, name: str = KNOWN) -> Listing | None:
    try:
        return Listing.read((folder.path / name).read_bytes())
    except (OSError, ValueError):
        return None


def _versions(folder: RunFolder) -> set[str]:
    return {known.sha256 for name in (KNOWN, INTENDED) if (known := _known(folder, name)) is not None}


def _belongs(path: str, what: str) -> bool:
    """Whether a file is a record, which is always brought, or of the part that is asked for."""
    part = path.partition("/")[0]
    return part in (what, path) or what == "all" or part not in PARTS


def _is_news(folder: RunFolder, path: str, listing: Listing, known: Listing | None) -> bool:
    """Whether a file is to be fetched; UserError if what is here and what is there were both changed."""
    if not (folder.path / path).exists():
        return True
    here, now, before = _as_sent(folder, path), listing.files[path], known.files.get(path) if known else None
    if now in (here, before):
        return False
    if here != before:
        raise UserError(
            f"{path} of the run {folder.name} was changed here and in the store: pull it --to another folder, or move "
            "this one away."
        )
    return True


def _counting(terminal: Terminal, what: str, files: Mapping[str, File], paths: Iterable[str]) -> Callable[[str], None]:
    """Shows bytes, as files are done."""
    total, done = sum(files[path].bytes for path in paths), 0

    def count(path: str) -> None:
        nonlocal done
        done += files[path].bytes
        terminal.progress(f"{what}: {done / 1e6:.1f} of {total / 1e6:.1f} MB", done == total)

    return count
