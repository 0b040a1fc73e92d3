"""Images per second and core out of prepared shards, beside a memory-map, webdataset and mosaicml-streaming.

The images are patches of the two photographs that scikit-learn ships. Every way of reading gets them in files of its
own format on the local disk, gives torch batches of 256 (uint8) in a shuffled order, and runs in a process of its own:
`readers/`. The ways take turns, several times over. Times are process times of all processes of a way, so images per
second and core; wall time is told beside it. Peers that cannot be installed are named in the table, and left out.

    python benchmarks/ingest.py
    python benchmarks/ingest.py --images 4096 --seconds 1 --rounds 1 --results /tmp/ingest.md
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from ndm.data.manifest import Manifest
from ndm.data.permutation import permutation
from ndm.data.shards import read_rows
from ndm.data.sources import photos

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
RESULTS = HERE / "results" / "ingest.md"
SIZE, BATCH, PIECE = 32, 256, 4096
TICK = 0.01
"""Seconds that process times are counted in."""
LONG = 1800.0
"""Seconds after which a reader is given up."""


class Way(NamedTuple):
    """One way of reading."""

    name: str
    script: str
    workers: int = 0
    """Of a DataLoader."""
    peer: bool = False


OURS = Way("ndm, through Ray Data", "through_ray")
FLOOR = Way("DataLoader over a memory-map", "through_memory_map")
WAYS = (
    FLOOR,
    OURS,
    Way("webdataset", "through_webdataset", 0, peer=True),
    Way("webdataset, 2 workers", "through_webdataset", 2, peer=True),
    Way("mosaicml-streaming", "through_mosaicml", 0, peer=True),
    Way("mosaicml-streaming, 2 workers", "through_mosaicml", 2, peer=True),
)


def patches(count: int, file: Path) -> Path:
    """`count` patches [N, 3, 32, 32], no two from the same place, in a .npy file that is written piece by piece."""
    photographs = photos.load()
    height, width, _ = photographs[0].shape
    down, across = height - SIZE + 1, width - SIZE + 1
    places = permutation(len(photographs) * down * across, "benchmark", "patches")[:count]
    assert len(places) == count, "there are not so many patches"
    windows = [np.lib.stride_tricks.sliding_window_view(p, (SIZE, SIZE), axis=(0, 1)) for p in photographs]
    file.parent.mkdir(parents=True, exist_ok=True)
    array = np.lib.format.open_memmap(file, "w+", np.uint8, (count, 3, SIZE, SIZE))
    for first in range(0, count, PIECE):
        photo, top, left = np.unravel_index(places[first : first + PIECE], (len(photographs), down, across))
        for number, window in enumerate(windows):
            here = photo == number
            array[first : first + PIECE][here] = window[top[here], left[here]]
    array.flush()
    return file


def environment(folder: Path) -> str | None:
    """The Python of the peers' environment, which sees ours behind its own packages; None if it cannot be made."""
    python = folder / "bin" / "python"
    wanted = (HERE / "peers.txt").read_text()
    if (folder / "installed.txt").is_file() and (folder / "installed.txt").read_text() == wanted:
        return str(python)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "ours.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check", "install"]
    done = subprocess.run([*pip, "--ignore-installed", "--no-deps", "-r", str(HERE / "peers.txt")], check=False)
    if done.returncode:
        return None
    (folder / "installed.txt").write_text(wanted)
    return str(python)


def run(python: str, script: str, **task: Any) -> dict[str, Any]:
    """What a reader answers; it and all that it started have ended.

    Raises:
        RuntimeError: it failed, with what it said.
    """
    command = [python, str(HERE / "readers" / f"{script}.py"), json.dumps(task)]
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent / "platform")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=LONG)
    finally:
        _end(process.pid)
    if process.returncode:
        raise RuntimeError(f"{script} failed: {errors[-2000:]}")
    return json.loads(output.splitlines()[-1])


def _end(session: int) -> None:
    """End what is left of a session."""
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def middle(values: Sequence[dict[str, Any]], key: str) -> float:
    return statistics.median(value[key] for value in values)


def per_core(values: Sequence[dict[str, Any]]) -> float:
    return statistics.median(value["images"] / max(value["cpu"], TICK) for value in values)


class Bench:
    """One size of the data, in the formats of all ways."""

    def __init__(self, folder: Path, images: int, seconds: float) -> None:
        self.folder, self.images, self.seconds = folder, images, seconds
        self.source = patches(images, folder / "images.npy")
        self.files: dict[str, str] = {}

    def task(self, script: str, action: str = "time", workers: int = 0) -> dict[str, Any]:
        return {
            "source": str(self.source),
            "folder": self.files.get(script, str(self.folder / script)),
            "images": self.images,
            "workers": workers,
            "seconds": self.seconds,
            "action": action,
        }

    def prepare(self) -> dict[str, Any]:
        """Our shards, made anew."""
        made = run(sys.executable, "preparation", **self.task("preparation"))
        self.files |= {OURS.script: made["folder"], "raw": made["folder"]}
        return made

    def write(self, python: str, script: str) -> str:
        """A peer's files, made anew; returns the peer's version."""
        folder = self.folder / script
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return run(python, script, **self.task(script, "write"))["version"]

    def check(self, python: str, way: Way) -> None:
        """An epoch of this way is the images, each once, by their number and the sum of their pixels."""
        found = run(python, way.script, **self.task(way.script, "check", way.workers))
        images = np.load(self.source, mmap_mode="r")
        count, total = len(images), sum(int(part.sum(dtype=np.int64)) for part in np.array_split(images, 64))
        if way == OURS:
            folder = Path(self.files[way.script])
            manifest = Manifest.read(folder)
            for split in ("validation", "test"):
                held_out = read_rows(folder, manifest, split, 0, manifest.rows(split)).raw
                count, total = count - len(held_out), total - int(held_out.sum(dtype=np.int64))
        assert found == {"images": count, "sum": total}, f"{way.name} has other images: {found}"

    def time(self, python: str, way: Way) -> dict[str, Any]:
        return run(python, way.script, **self.task(way.script, "time", way.workers))


class Measured(NamedTuple):
    images: int
    rounds: int
    ways: dict[Way, list[dict[str, Any]]]
    versions: dict[str, str]
    """Of the peers that are there."""
    absent: dict[str, str]
    """Peers that are not there, and why."""
    prepared: list[dict[str, Any]]
    raw: list[dict[str, Any]]
    memory: list[tuple[int, dict[str, Any], dict[str, Any]]]
    """(images, reading, preparation), for the data and for twice the data."""
    load: tuple[float, float]
    """Of the machine before it began and at the end: how many processes wanted to run."""


def measure(images: int, rounds: int, seconds: float, folder: Path, peers: bool) -> Measured:
    load = os.getloadavg()[0]
    bench = Bench(folder / "once", images, seconds)
    bench.prepare()  # warms the disk's cache
    python = environment(folder / "peers") if peers else None
    versions, absent = dict[str, str](), dict[str, str]()
    for script, name in {way.script: way.name for way in WAYS if way.peer and not way.workers}.items():
        if python is None:
            absent[name] = "could not be installed here" if peers else "left out"
            continue
        try:
            versions[script] = f"{name} {bench.write(python, script)}"
        except RuntimeError as error:
            print(error, flush=True)
            absent[name] = "does not run here"
    ways = {way: list[dict[str, Any]]() for way in WAYS if not way.peer or way.script in versions}
    pythons = {way: (python or "") if way.peer else sys.executable for way in ways}
    for way in ways:
        bench.check(pythons[way], way)
    prepared, raw = list[dict[str, Any]](), list[dict[str, Any]]()
    for number in range(rounds):
        prepared.append(bench.prepare())
        raw.append(run(sys.executable, "raw", **bench.task("raw")))
        for way, found in ways.items():
            found.append(bench.time(pythons[way], way))
            print(number, way.name, found[-1], flush=True)
    twice = Bench(folder / "twice", 2 * images, seconds)
    made = twice.prepare()
    memory = [(images, ways[OURS][0], prepared[0]), (2 * images, twice.time(sys.executable, OURS), made)]
    shutil.rmtree(twice.folder)
    return Measured(images, rounds, ways, versions, absent, prepared, raw, memory, (load, os.getloadavg()[0]))


def report(m: Measured) -> list[str]:
    """The table, with how its numbers were made."""
    rates = {way: per_core(found) for way, found in m.ways.items()}
    lines = [
        "# Ingest",
        "",
        f"`python benchmarks/ingest.py`: {m.images:,} images of 3x32x32 (uint8), different patches of "
        f"scikit-learn's two photographs, batches of {BATCH} in a shuffled order on one machine of {os.cpu_count()} "
        f"cores ({platform.machine()}, load {m.load[0]:.1f} before it began, {m.load[1]:.1f} at "
        f"the end); medians of {m.rounds} interleaved rounds, "
        f"in fresh processes. Python {platform.python_version()}, "
        + ", ".join(
            [*(f"{name} {version(name)}" for name in ("torch", "numpy", "pyarrow", "ray")), *m.versions.values()]
        )
        + ".",
        "",
        "Per core: images over the process time of all processes of the way, Ray's included, in the epoch after its "
        "first fifth. Wall: images over the time that passed. First: seconds until the first batch.",
        "",
        "| way | images/s per core | of the memory-map's | images/s, wall | first, s |",
        "|---|---|---|---|---|",
    ]
    for way, found in m.ways.items():
        wall = statistics.median(one["images"] / one["wall"] for one in found)
        lines.append(
            f"| {way.name} | {rates[way]:,.0f} | {rates[way] / rates[FLOOR]:.3f} | {wall:,.0f} "
            f"| {middle(found, 'first'):.1f} |"
        )
    lines += [f"| {name} | {why} | | | |" for name, why in m.absent.items()]
    if peers := {way: rate for way, rate in rates.items() if way.peer}:
        best = max(peers, key=lambda way: peers[way])
        lines += ["", f"`ndm` reads **{rates[OURS] / peers[best]:.1f}x** as many as the best peer ({best.name})."]
    hashed, ours, scan = (middle(m.raw, name) for name in ("hashed", "ours", "scan"))
    (once, read, made), (double, read_2, made_2) = m.memory
    lines += [
        "",
        f"The memory-map's gather is {rates[FLOOR] / rates[OURS]:.0f}x cheaper: it is one copy of pixels that are in "
        "the disk's cache. `ndm` reads, hashes and parses each shard, gathers its rows, puts them into Ray's object "
        "store from a process of its own, and copies them out; Ray's own processes poll all the while.",
        "",
        "## Raw reading and preparation",
        "",
        "| | images/s per core |",
        "|---|---|",
        f"| pyarrow's scan of our shards, one thread, nothing verified | {scan:,.0f} |",
        f"| `read_shard` of a file that was hashed before | {ours:,.0f} ({ours / scan:.2f} of the scan) |",
        f"| `read_shard` with SHA-256 | {hashed:,.0f} ({hashed / scan:.2f} of the scan) |",
        f"| `prepare`: hash and read a .npy file, shuffle, write and hash shards | {per_core(m.prepared):,.0f} |",
        "",
        "## Peak memory, not shared with other processes, MB",
        "",
        "| images | reader | Ray's workers, together | preparation |",
        "|---|---|---|---|",
        f"| {once:,} | {read['own'] / 1e6:.0f} | {read['workers'] / 1e6:.0f} | {made['own'] / 1e6:.0f} |",
        f"| {double:,} | {read_2['own'] / 1e6:.0f} | {read_2['workers'] / 1e6:.0f} | {made_2['own'] / 1e6:.0f} |",
        "",
    ]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=200_192, help="rounded up to whole batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="after which one measurement ends")
    parser.add_argument("--folder", type=Path, default=CACHE, help="for images, shards and the peers' environment")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--without-peers", action="store_true")
    options = parser.parse_args(arguments)
    images = -(-options.images // BATCH) * BATCH
    found = measure(images, options.rounds, options.seconds, options.folder.absolute(), not options.without_peers)
    lines = report(found)
    print("\n".join(lines))
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
