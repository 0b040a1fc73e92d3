"""What is prepared is read back whole or not at all; what was killed or damaged is finished by preparing again."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ndm.data import manifest as manifests
from ndm.data import shards
from ndm.data.blocks import Plan
from ndm.data.cache import ByteCache
from ndm.data.manifest import FILE, Manifest
from ndm.data.order import Order
from ndm.data.prepare import prepare
from ndm.data.shards import gather, read_rows, read_shard, verify
from ndm.data.sources import Examples, Opened, Part, digits, rings
from ndm.data.sources._base import SPLITS
from ndm.errors import UserError

SOURCE = rings.Config(examples=1000)
ROWS = 300


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return prepare(SOURCE, tmp_path_factory.mktemp("data"), rows_per_shard=ROWS)


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / original.name))


def changed_times(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if not p.name.startswith(".")}


@pytest.mark.parametrize("source", [SOURCE, digits.Config()], ids=["float32", "uint8"])
def test_a_prepared_split_is_the_sources_rows_each_once(source, splits_of, tmp_path):
    folder = prepare(source, tmp_path)
    manifest = verify(folder)
    assert folder.name == "-".join(source.identity().values())
    splits = splits_of(source)
    for split, examples in splits.items():
        rows = read_rows(folder, manifest, split, 0, manifest.rows(split))
        np.testing.assert_array_equal(rows.index, np.arange(len(examples.labels)))
        assert rows.raw.dtype == examples.raw.dtype
        ours = [(x.tobytes(), y) for x, y in zip(rows.raw, rows.labels.tolist(), strict=True)]
        theirs = [(x.tobytes(), y) for x, y in zip(examples.raw, examples.labels.tolist(), strict=True)]
        assert sorted(ours) == sorted(theirs)
        assert ours != theirs
    assert (manifest.shape, manifest.levels) == (source.shape, source.levels)
    assert manifest.labels == int(splits["train"].labels.max()) + 1
    assert not list(folder.glob(".work*"))


def test_the_digits_have_several_shards(tmp_path):
    manifest = Manifest.read(prepare(digits.Config(), tmp_path))
    assert [s.rows for s in manifest.shards("train")] == [256] * 5 + [157]


def test_ranges_cover_each_row_once(original):
    manifest = Manifest.read(original)
    whole = read_rows(original, manifest, "validation", 0, 2000)
    parts = [read_rows(original, manifest, "validation", a, min(a + 173, 2000)) for a in range(0, 2000, 173)]
    for name in ("raw", "labels", "index"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(whole, name))
    assert read_rows(original, manifest, "test", 5, 5).raw.shape == (0, 2)


def test_gather_reads_any_rows_in_any_order(original):
    manifest = Manifest.read(original)
    whole = read_rows(original, manifest, "train", 0, 1000)
    index = np.array([999, 0, 300, 299, 0, 601])
    some = gather(original, manifest, "train", index)
    np.testing.assert_array_equal(some.raw, whole.raw[index])
    np.testing.assert_array_equal(some.labels, whole.labels[index])
    np.testing.assert_array_equal(some.index, index)
    assert some.raw.flags.writeable


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    other = path.with_name("train-00002.parquet")
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


DAMAGES = {truncate: "bytes, the manifest says", flip_a_bit: "SHA-256", swap: "SHA-256", Path.unlink: "is missing"}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.items())
def test_a_damaged_shard_is_named_with_its_remedy_and_repaired_by_it(folder, damage, words):
    manifest, shard = Manifest.read(folder), Manifest.read(folder).shards("train")[1]
    damage(folder / shard.file)
    for read in (
        lambda: read_shard(folder, manifest, shard),
        lambda: read_rows(folder, manifest, "train", 0, 1000),
        lambda: verify(folder),
    ):
        with pytest.raises(UserError, match=words) as caught:
            read()
        assert shard.file in str(caught.value)
        assert "ndm prepare EXPERIMENT" in str(caught.value)
    before = changed_times(folder)
    prepare(SOURCE, folder.parent, rows_per_shard=ROWS)
    assert verify(folder) == manifest
    written = {name for name, time in changed_times(folder).items() if before.get(name) != time}
    assert shard.file in written
    assert len(written - {FILE}) <= 2


def test_a_manifest_of_other_rows_is_found_out(folder):
    """Files that fit the manifest byte by byte, but do not hold what it promises."""
    manifest = Manifest.read(folder)
    first, *others = manifest.shards("train")
    for change, words in (
        ({"rows": first.rows - 1}, "has 300 rows, the manifest says 299"),
        ({"content_sha256": "0" * 64}, "its examples are not those"),
    ):
        splits = {**manifest.splits, "train": (first.model_copy(update=change), *others)}
        forged = manifest.model_copy(update={"splits": splits}).signed()
        (folder / FILE).write_text(forged.model_dump_json())
        with pytest.raises(UserError, match=words):
            verify(folder)
    for change in ({"levels": 4}, {"shape": (1, 2)}):
        (folder / FILE).write_text(manifest.model_copy(update=change).signed().model_dump_json())
        with pytest.raises(UserError, match="its shape, dtype or levels"):
            verify(folder)


def test_a_manifest_of_another_format_is_replaced(folder):
    tree = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({**tree, "format": manifests.FORMAT + 1}))
    with pytest.raises(UserError, match="ndm prepare EXPERIMENT"):
        verify(folder)
    prepare(SOURCE, folder.parent, rows_per_shard=ROWS)
    assert verify(folder).hash == tree["hash"]


@pytest.mark.parametrize("thorough", [True, False])
def test_a_complete_data_set_is_left_alone(folder, thorough):
    before, calls = changed_times(folder), []
    prepare(SOURCE, folder.parent, rows_per_shard=ROWS, verify=thorough, progress=lambda *c: calls.append(c))
    assert changed_times(folder) == before
    assert calls == []


def test_another_number_of_rows_per_shard_cuts_the_same_rows_anew(original, folder):
    before = Manifest.read(original)
    after = Manifest.read(prepare(SOURCE, folder.parent, rows_per_shard=500))
    assert [s.rows for s in after.shards("train")] == [500, 500]
    assert after.hash != before.hash
    rows = [read_rows(f, m, "train", 0, 1000) for f, m in ((original, before), (folder, after))]
    np.testing.assert_array_equal(rows[0].raw, rows[1].raw)


def test_progress_counts_rows(tmp_path):
    calls: list[tuple[int, int]] = []
    prepare(SOURCE, tmp_path, rows_per_shard=1000, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(n, 5000) for n in (500, 1500, 2500, 3000, 3500, 4000, 4500, 5000)]


KILLED = """
import os, signal, sys
from pathlib import Path
from ndm.data.prepare import prepare
from ndm.data.sources import rings
def progress(done, total):
    if done >= 2500 + 300:
        os.kill(os.getpid(), signal.SIGKILL)
prepare(rings.Config(examples=1000), Path(sys.argv[1]), rows_per_shard=300, progress=progress)
"""


def test_a_killed_preparation_is_continued_by_the_same_call(original, tmp_path):
    source_root = Path(__file__).parents[2] / "platform"
    environment = {**os.environ, "PYTHONPATH": str(source_root)}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = tmp_path / original.name
    before = changed_times(folder)
    assert set(before) == {"train-00000.parquet", "train-00001.parquet"}
    (folder / ".train-00002.parquet.partial").write_bytes(b"PAR1 half a shard")
    assert prepare(SOURCE, tmp_path, rows_per_shard=ROWS) == folder
    assert verify(folder) == Manifest.read(original)
    after = changed_times(folder)
    assert {name: after[name] for name in before} == before
    assert {path.name for path in folder.glob(".*")} == {".lock"}


def test_parts_that_were_read_before_a_kill_are_not_read_again(tmp_path):
    """The third part kills; the same call then reads it and no other, and leaves what an undisturbed one leaves."""
    read: list[int] = []

    class Once(Part):
        def __init__(self, number: int) -> None:
            self.number = number

        @property
        def rows(self) -> int:
            return 40

        def read(self) -> Examples:
            read.append(self.number)
            if read == [0, 1, 2]:
                raise KeyboardInterrupt
            values = np.arange(80, dtype=np.float32).reshape(40, 2) + 100 * self.number
            return Examples(values, np.full(40, self.number))

    class Source(rings.Config):
        def open(self) -> Opened:
            rows = np.arange(160).reshape(40, 4).T.copy()  # each split from all parts; the last fourth in none
            return Opened([Once(i) for i in range(4)], dict(zip(SPLITS, rows, strict=False)))

    with pytest.raises(KeyboardInterrupt):
        prepare(Source(), tmp_path / "a", rows_per_shard=16)
    folder = prepare(Source(), tmp_path / "a", rows_per_shard=16)
    assert read == [0, 1, 2, 2, 3]
    assert verify(folder) == verify(prepare(Source(), tmp_path / "b", rows_per_shard=16))
    manifest = Manifest.read(folder)
    assert manifest.labels == 4
    for first, split in enumerate(SPLITS):
        rows = read_rows(folder, manifest, split, 0, 40)
        numbers = rows.labels * 40 + (rows.raw[:, 0].astype(int) - 100 * rows.labels) // 2
        assert sorted(numbers.tolist()) == list(range(first, 160, 4))


def test_another_preparation_takes_nothing_from_one_that_was_killed(tmp_path):
    (tmp_path / "rings-1-1000" / ".work-0" / "nested").mkdir(parents=True)
    folder = prepare(SOURCE, tmp_path, rows_per_shard=ROWS)
    assert not list(folder.glob(".work*"))


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"storage\.root"):
        prepare(SOURCE, tmp_path / "file")


def test_the_cache_keeps_what_was_used_last_within_its_budget():
    made: list[str] = []

    def get(key: str) -> str:
        return cache.get(key, lambda: made.append(key) or key, lambda value: 40)

    cache: ByteCache[str] = ByteCache(100)
    for key in ("a", "b", "a", "c", "a", "b"):
        assert get(key) == key
    assert made == ["a", "b", "c", "b"]


@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_a_shard_that_was_hashed_is_hashed_again_if_it_was_touched(folder: Path, tmp_path: Path, how: str) -> None:
    manifest = Manifest.read(folder)
    shard = manifest.shards("train")[1]
    path = folder / shard.file
    before, whole = path.stat(), path.read_bytes()
    for again in (True, False, False):
        rows = read_shard(folder, manifest, shard, again=again)
        assert rows.content_sha256() == shard.content_sha256
    changed = whole[:900] + bytes([whole[900] ^ 1]) + whole[901:]
    if how == "replaced":
        (tmp_path / "other").write_bytes(changed)
        os.replace(tmp_path / "other", path)
    else:
        path.write_bytes(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had happened
    with pytest.raises(UserError, match=r"is damaged: its SHA-256 is not the one in the manifest"):
        read_shard(folder, manifest, shard, again=False)
    path.write_bytes(whole)
    assert read_shard(folder, manifest, shard, again=False).content_sha256() == shard.content_sha256


def test_what_is_asked_for_over_and_over_is_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, index = Manifest.read(folder), np.arange(0, 1000, 7)
    enough = 1000 * manifest.row_bytes
    for held, kept in ((enough, True), (enough // 2, False)):
        monkeypatch.setattr(shards, "_verified", ByteCache(1))
        rows = gather(folder, manifest, "train", index, held)
        moved = folder.rename(folder.with_name("moved"))
        if kept:
            np.testing.assert_array_equal(gather(folder, manifest, "train", index).raw, rows.raw)
        else:
            with pytest.raises(UserError, match="is missing"):
                gather(folder, manifest, "train", index)
        moved.rename(folder)


@pytest.mark.parametrize("world", [1, 2, 8])
def test_a_rank_holds_the_shards_of_its_windows(folder: Path, world: int) -> None:
    """Of any window, in any epoch, and not many times as much."""
    manifest = Manifest.read(folder)
    order = Order([100] * 64, "hash", 0, streams=8, window=250)
    plan = Plan(folder, manifest, order, 0, 6400, 64, 0, world, 1)
    most = 0
    for window in range(6):
        step = 8 * (250 * window + np.arange(250))
        read = [len(np.unique(order.rows(stream + step[stream + step < 6400]) // 100)) for stream in range(8 // world)]
        most = max(most, sum(read) * 100 * manifest.row_bytes)
    assert most <= plan.held_bytes <= 2 * most
