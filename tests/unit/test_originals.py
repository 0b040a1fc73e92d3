"""What lies in files of the published formats comes out as it was put in, and other files are refused by a sentence."""

import gzip
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import originals
import pytest
from sources import damaged_copy, everything, pairs, sentence, source

from ndm.data import places
from ndm.data.prepare import prepare
from ndm.data.shards import read_rows, verify
from ndm.data.sources import _base, _npy
from ndm.errors import UserError
from ndm.registry import variant

FORMATS: dict[str, tuple[str, Callable[[Path], originals.Written]]] = {
    "cifar10, binary": ("cifar10", originals.cifar10_binary),
    "cifar10, packed": ("cifar10", originals.cifar10_packed),
    "cifar10, as Python 2 pickled it": ("cifar10", originals.cifar10_pickled(originals.python_2)),
    "cifar10, pickled anew": ("cifar10", originals.cifar10_pickled(partial(pickle.dumps, protocol=2))),
    "mnist, packed": ("mnist", originals.mnist),
    "mnist, plain": ("mnist", partial(originals.mnist, packed=False)),
    "oord, tar": ("imagenet_oord", originals.oord),
    "oord, folder": ("imagenet_oord", partial(originals.oord, unpacked=True)),
    "oord, 64": ("imagenet_oord", partial(originals.oord, size=64)),
    "chrabaszcz, npz": ("imagenet_chrabaszcz", originals.chrabaszcz_npz),
    "chrabaszcz, packed npz": ("imagenet_chrabaszcz", partial(originals.chrabaszcz_npz, packed=True)),
    "chrabaszcz, 64": ("imagenet_chrabaszcz", partial(originals.chrabaszcz_npz, size=64)),
    "chrabaszcz, pickled": ("imagenet_chrabaszcz", originals.chrabaszcz_pickled),
    "chrabaszcz, pickled by protocol 4": ("imagenet_chrabaszcz", partial(originals.chrabaszcz_pickled, protocol=4)),
    "imagenet, tar": ("imagenet", originals.imagenet_tar),
    "imagenet, numbered": ("imagenet", partial(originals.imagenet_tar, named=False)),
    "imagenet, parquet": ("imagenet", originals.imagenet_parquet),
    "imagenet, of another size": ("imagenet", partial(originals.imagenet_tar, size=24)),
    "images": ("images", originals.images),
    "arrays": ("arrays", originals.arrays),
}


@pytest.mark.parametrize(("kind", "write"), FORMATS.values(), ids=FORMATS)
def test_what_was_written_is_read(kind, write, tmp_path, splits_of):
    written = write(tmp_path)
    config = source(kind, **written.keys)
    splits = splits_of(config)
    train = pairs(
        *(np.concatenate([getattr(splits[s], n) for s in ("train", "validation")]) for n in ("raw", "labels"))
    )
    if kind == "imagenet":  # Pillow rounds the average once across and once down; ours is exact
        assert sorted(label for _, label in train) == sorted(written.train[1].tolist())
        exact = written.train[0].reshape(len(train), -1)
        for content, label in train:
            away = np.abs(np.frombuffer(content, np.uint8) - exact).max(axis=1)
            assert away.min() <= 1.01
            assert written.train[1][away.argmin()] == label
        np.testing.assert_array_equal(splits["test"].labels, written.test[1])
        np.testing.assert_allclose(splits["test"].raw, written.test[0], atol=1.01)
    else:
        assert sorted(train) == sorted(pairs(*written.train))
        assert pairs(splits["test"].raw, splits["test"].labels) == pairs(*written.test)
    held_out = written.keys.get("held_out", 3)
    assert len(splits["validation"].labels) == held_out
    assert config.identity()["version"].endswith(str(held_out)) or kind in ("images", "arrays")


@pytest.mark.parametrize("kind", originals.WRITERS)
def test_parts_travel_and_are_independent(kind, source_of):
    config = source_of(kind)
    parts = list(config.open().parts)
    sent = pickle.loads(pickle.dumps(parts))
    for part, other in zip(reversed(parts), reversed(sent), strict=True):
        np.testing.assert_array_equal(part.read().raw, other.read().raw)
        assert len(part.read().labels) == part.rows > 0


def test_large_images_come_in_fewer_rows(tmp_path, monkeypatch):
    assert source("images", size=64).rows_per_shard == source("imagenet_oord", size=32).rows_per_shard == 4096
    assert source("images", size=256).rows_per_shard == 256
    monkeypatch.setattr(_base, "MOST_BYTES", 7 * 3 * 16 * 16)
    for kind, size in (("images", 16), ("imagenet_oord", 32), ("imagenet", 16)):
        folder = tmp_path / kind
        folder.mkdir()
        written = originals.WRITERS[kind](folder)
        parts = source(kind, **written.keys | {"size": size}).open().parts
        assert max(part.rows for part in parts) == 7 * 16**2 // size**2


@pytest.mark.parametrize("kind", originals.WRITERS)
def test_without_a_path_a_sentence_says_what_to_give(kind):
    sentence(source(kind).open, "data.path=", "data.path is not given")
    sentence(source(kind, path="/nowhere/at/all").open, "/nowhere/at/all", "data.path=")


def test_a_tar_and_its_folder_are_one_data_set(tmp_path):
    manifests = []
    for unpacked in (False, True):
        folder = tmp_path / str(unpacked)
        folder.mkdir()
        config = source("imagenet_oord", **originals.oord(folder, unpacked=unpacked).keys)
        # As if they were the originals: what lies in other files has another version.
        manifests.append(verify(prepare(config, folder / "data")))
    for split in manifests[0].splits:
        first, second = ([shard.content_sha256 for shard in m.shards(split)] for m in manifests)
        assert first == second


def test_two_forms_of_cifar10_are_one_data_set(tmp_path):
    contents = []
    for name in ("cifar10, binary", "cifar10, packed", "cifar10, as Python 2 pickled it"):
        folder = tmp_path / name
        folder.mkdir()
        root = prepare(source("cifar10", **FORMATS[name][1](folder).keys), tmp_path / "data")
        contents.append(read_rows(root, verify(root), "train", 0, 35).content_sha256())
    assert len(set(contents)) == 1


@pytest.mark.parametrize("kind", ["cifar10", "mnist", "imagenet", "imagenet_chrabaszcz", "imagenet_oord"])
def test_other_data_in_the_files_of_an_original_are_refused_and_never_get_its_name(kind, source_of):
    config = source_of(kind)
    claimed = config.model_copy(update={"originals": True})
    text = sentence(claimed.open, "data.path=")
    assert any(word in text for word in ("expected", "the original", "has no"))
    assert config.identity()["version"].startswith("any-")
    assert claimed.model_copy(update={"path": None}).identity()["version"].startswith("1-")


def test_the_version_of_other_data_tells_their_content(tmp_path):
    config = source("mnist", **originals.mnist(tmp_path, packed=False).keys)
    before = config.identity()
    assert before == config.identity()
    path = tmp_path / "t10k-labels-idx1-ubyte"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert config.identity() != before
    assert source("imagenet_oord").identity()["name"] != source("imagenet_chrabaszcz").identity()["name"]
    names = [source(k, **keys).identity() for k, keys in (("mnist", {}), ("mnist", {"binarised": True}))]
    names += [source("imagenet", size=n, filter=f).identity() for n in (32, 64) for f in ("box", "lanczos")]
    names += [source("imagenet", form="parquet").identity(), source("imagenet_oord", size=64).identity()]
    assert len({str(name) for name in names}) == len(names)


def test_binarised_digits_are_one_where_they_were_128_or_more(tmp_path, splits_of):
    written = originals.mnist(tmp_path, binarised=True)
    config = source("mnist", **written.keys)
    assert config.levels == 2
    np.testing.assert_array_equal(splits_of(config)["test"].raw, written.test[0] > 127)


# Bad files


def test_a_tar_that_breaks_off_is_a_sentence(tmp_path):
    config, folder = damaged_copy("imagenet_oord", tmp_path)
    path = folder / "train_32x32.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        boundary = archive.getmembers()[7].offset
    for length in (len(whole) // 2, boundary, boundary + 100, 700, 100, 0):
        path.write_bytes(whole[:length])
        sentence(config.open, "train_32x32.tar", "damaged", "data.path=")
    path.write_bytes(whole[:boundary] + b"rubbish!" * 64 + whole[boundary + 512 :])
    sentence(config.open, "train_32x32.tar", "breaks off at byte")


def test_a_tar_with_a_link_or_without_images_is_a_sentence(tmp_path):
    config, folder = damaged_copy("imagenet_oord", tmp_path)
    with tarfile.open(folder / "train_32x32.tar", "w") as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    sentence(config.open, "a.png in it is a link")
    (folder / "train_32x32.tar").write_bytes(originals.tar({"readme.txt": b"hello"}))
    sentence(config.open, "no PNG files")


def test_a_tar_that_shrinks_after_it_was_opened_is_a_sentence(tmp_path):
    config, folder = damaged_copy("imagenet_oord", tmp_path)
    parts = config.open().parts
    path = folder / "train_32x32.tar"
    path.write_bytes(path.read_bytes()[:5000])
    sentence(parts[0].read, "train_32x32.tar", "ends before its member")


def test_a_packed_tar_that_breaks_off_is_a_sentence(tmp_path):
    written = originals.cifar10_packed(tmp_path)
    path, config = Path(written.keys["path"]), source("cifar10", **written.keys)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-20], b"no gzip at all", b""):
        path.write_bytes(content)
        sentence(config.open, "packed.tar.gz", "damaged")


def test_a_batch_of_another_length_or_label_is_a_sentence(tmp_path):
    config, folder = damaged_copy("cifar10", tmp_path)
    path = folder / "data_batch_3.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    sentence(config.open, "data_batch_3.bin", "3073")
    path.write_bytes(b"\x0a" + whole[1:])
    sentence(config.open, "data_batch_3.bin", "labels up to 10")
    path.unlink()
    sentence(source("cifar10", path=str(folder)).open, "data_batch_3.bin", "data.path=")
    (folder / "test_batch.bin").unlink()
    sentence(config.open, "test_batch.bin or test_batch", "data.path=")


def test_wrong_counts_name_what_was_found_and_expected(tmp_path):
    folder = tmp_path / "oord"
    folder.mkdir()
    originals.oord(folder)
    sentence(source("imagenet_oord", path=str(folder)).open, "train images 20", "1281149", "data.originals=false")
    config, folder = damaged_copy("cifar10", tmp_path)
    sentence(source("cifar10", path=str(folder)).open, "images 8", "10000")
    sentence(config.model_copy(update={"held_out": 40}).open, "data.held_out=40 of 40", "smaller")


def test_a_pickled_batch_is_told_from_the_original_by_its_md5(tmp_path, monkeypatch):
    cifar10 = variant("ndm.data.sources", "cifar10")
    originals.cifar10_pickled(originals.python_2)(tmp_path)
    monkeypatch.setattr(cifar10, "ROWS", 8)
    sentence(source("cifar10", path=str(tmp_path)).open, "data_batch_1", "MD5", "c99cafc152244af753f735de768cd75f")


def test_idx_files_that_are_none_or_do_not_belong_together_are_a_sentence(tmp_path):
    config, folder = damaged_copy("mnist", tmp_path)
    images, labels = folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz"
    whole = {path: path.read_bytes() for path in (images, labels)}
    for content, word in (
        (whole[images][:-30], "gzip"),
        (gzip.compress(gzip.decompress(whole[images])[:-1]), "announces"),
        (gzip.compress(b"\x00\x00\x0d\x03" + bytes(12)), "idx file of bytes"),
        (gzip.compress(struct.pack(">BBBBIII", 0, 0, 8, 3, 20, 27, 28) + bytes(20 * 27 * 28)), "28"),
        (b"text", "gzip"),
    ):
        images.write_bytes(content)
        sentence(config.open, images.name, word)
    images.write_bytes(whole[images])
    labels.write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 19) + bytes(19)))
    sentence(config.open, "19 labels")
    labels.unlink()
    sentence(config.open, "train-labels-idx1-ubyte(.gz)", "data.path=")


def test_npz_files_that_hold_something_else_are_a_sentence(tmp_path):
    config, folder = damaged_copy("imagenet_chrabaszcz", tmp_path)
    path = folder / "train_data_batch_2.npz"
    data, labels = np.zeros((4, 3072), np.uint8), np.arange(1, 5)
    for arrays, word in (
        ({"data": data}, "expected data and labels"),
        ({"data": data, "labels": labels[:3]}, "uint8 [N, 3072]"),
        ({"data": data[:, :12], "labels": labels}, "data.size=32"),
        ({"data": data.astype(np.float32), "labels": labels}, "uint8 [N, 3072]"),
        ({"data": np.array([{}], object), "labels": labels}, "pickle"),
        ({"data": np.asfortranarray(data), "labels": labels}, "Fortran"),
    ):
        np.savez(path, **arrays)
        sentence(config.open, path.name, word)
    for wrong in (labels - 1, labels + 997):
        np.savez(path, data=data, labels=wrong)
        sentence(lambda: everything(config), path.name, "expected 1 to 1000")
    whole = path.read_bytes()
    for content in (whole[:-40], b"text", b""):
        path.write_bytes(content)
        sentence(config.open, path.name, "damaged")


def test_an_array_that_ends_too_early_is_a_sentence(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((40, 8, 8), np.uint8))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-64])
    sentence(lambda: everything(source("arrays", path=str(tmp_path / "a.npy"))), "ends before row 40 of 40")
    for stored in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", stored) as archive:
            archive.writestr("data.npy", content[:-64])
            archive.writestr("zz.npy", bytes(1000))
        array = _npy.array(places.place(str(tmp_path / "a.npz"), "").file(), "data.npy")
        sentence(lambda array=array: array.read(30, 40), "ends before row 40 of 40")


def changed(content: bytes, generator: np.random.Generator) -> bytes:
    """With some bytes changed, lost or inserted, most often near the ends, where headers are."""
    found = bytearray(content)
    for _ in range(generator.choice([1, 1, 3])):
        near = generator.integers(min(len(found), 500))
        place = generator.choice([near, len(found) - 1 - near, generator.integers(len(found))])
        some = generator.bytes(generator.integers(1, 9))
        match generator.integers(4):
            case 0:
                found[place : place + 1] = some[:1]
            case 1:
                found[place : place + 4] = b"\xff" * 4
            case 2:
                del found[place : place + len(some)]
            case _:
                found[place:place] = some
        found = found or bytearray(b"x")
    return bytes(found)


@pytest.mark.parametrize(("kind", "write"), FORMATS.values(), ids=FORMATS)
def test_whatever_becomes_of_a_file_it_is_read_or_refused_by_a_sentence(kind, write, tmp_path):
    written, generator = write(tmp_path), np.random.default_rng(0)
    config = source(kind, **written.keys)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    if Path(written.keys["path"]).is_file():
        files = [Path(written.keys["path"])]
    for _ in range(10):
        path = files[generator.integers(len(files))]
        whole = path.read_bytes()
        path.write_bytes(changed(whole, generator))
        refusal = ""
        try:
            config.identity()
            for part in config.open().parts:
                examples = part.read()
                assert examples.raw.shape == (part.rows, *config.shape)
                assert examples.labels.min() >= 0
        except UserError as error:
            refusal = str(error)
        assert refusal.isprintable()
        path.write_bytes(whole)


def test_a_header_that_is_no_literal_is_a_sentence(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 2, 2), np.uint8))
    content = (tmp_path / "a.npy").read_bytes()
    for old, new in ((b"}", b" "), (b"{", b"["), (b"'descr'", b"open(1)"), (b"(4, 2, 2)", b"(4,-2, 2)")):
        (tmp_path / "a.npy").write_bytes(content.replace(old, new))
        sentence(source("arrays", path=str(tmp_path / "a.npy")).open, "a.npy")
