"""What lies in files of the published formats comes out as it was put in, and other files are refused by a sentence."""

import codecs
import gzip
import io
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import originals
import pytest
from PIL import Image
from pydantic import ValidationError

from ndm import presets
from ndm.data import places
from ndm.data.prepare import prepare
from ndm.data.shards import read_rows, verify
from ndm.data.sources import _base, _npy, _pickles, _pictures, _stores, photos
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


def source(kind: str, **keys: Any) -> Any:
    return variant("ndm.data.sources", kind).Config(**keys)


def sentence(read: Callable[[], Any], *words: str) -> str:
    """What the person reads, who is told these words."""
    with pytest.raises(UserError) as caught:
        read()
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 700
    for word in words:
        assert word in text, text
    return text


def everything(config: Any) -> list[Any]:
    return [part.read() for part in config.open().parts]


def pairs(raw: np.ndarray, labels: np.ndarray) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), int(label)) for image, label in zip(raw, labels, strict=True)]


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


def damaged_copy(kind: str, tmp_path: Path) -> tuple[Any, Path]:
    written = originals.WRITERS[kind](tmp_path)
    return source(kind, **written.keys), tmp_path


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


# Malicious pickles


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def payloads(victim: Path) -> dict[str, bytes]:
    import builtins
    import os
    import posix
    import subprocess

    command = f"touch {victim}"
    dtype, marker = np.dtype, np.ndarray
    reconstruct = np.zeros(1).__reduce__()[0]
    made = {
        "os.system": Call(os.system, command),
        "posix.system": Call(posix.system, command),
        "builtins.eval": Call(builtins.eval, f"open({str(victim)!r}, 'w')"),
        "builtins.exec": Call(builtins.exec, f"open({str(victim)!r}, 'w')"),
        "subprocess.Popen": Call(subprocess.Popen, ["touch", str(victim)]),
        "a chain of getattr": Call(getattr, Call(__import__, "os"), "system"),
        "open": Call(open, str(victim), "w"),
        "numpy.load": Call(np.load, str(victim)),
        "an array of objects": np.array([Call(os.system, command)], object),
        "the type of objects": Call(dtype, "O"),
        "a type of fields": Call(dtype, [("a", "O")]),
        "a type of odd arguments": Call(dtype, "u1", 7, 8),
        "an array of another class": Call(reconstruct, dict, (0,), b"b"),
        "an array of another size": Call(reconstruct, marker, (10**9,), b"b"),
        "an array of objects, made": Call(reconstruct, marker, (0,), b"O"),
        "an array made directly": Call(marker, (2,), "O"),
        "another encoding": Call(codecs.encode, "a", "rot13"),
        "an import by its encoding": Call(codecs.decode, b"x", "bz2"),
    }
    path, text = str(victim).encode(), f"touch {victim}".encode()
    array = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
    type_ = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
    raw = {
        "numpy.testing": b"cnumpy.testing._private.utils\nrunstring\n(S'import os'\n}tR.",
        "a name by STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(text)]) + text + b"\x85R.",
        "a dotted name by STACK_GLOBAL": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        "a name of two memos": b"\x80\x04\x8c\x06system\x94\x8c\x02os\x94h\x01h\x00\x93\x94.",
        "a name that is no text": b"\x80\x04K\x01K\x02\x93.",
        "INST": b"(S'" + text + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + text + b"'\no.",
        "NEWOBJ": b"\x80\x02cnumpy\nndarray\n)\x81.",
        "an extension": b"\x80\x02\x82\x01.",
        "a persistent number": b"Pnumber\n.",
        "a buffer": b"\x80\x05\x97.",
        "a state for a function": b"cnumpy\ndtype\n}S'_call'\nNsb.",
        "a state in slots for a function": b"cnumpy\ndtype\nN}S'_call'\nNs\x86b.",
        "an array of a negative shape": b"}U\x04data" + array + b"(K\x01(J\xff\xff\xff\xfft" + type_ + b"\x89U\x00tbs.",
        "an array of another length": b"}U\x04data" + array + b"(K\x01(K\x02t" + type_ + b"\x89U\x01xtbs.",
        "a type with fields in its state": b"}U\x04data" + type_ + b"(K\x03U\x01|NU\x01aU\x01bK\x00K\x00K\x00tbs.",
        "a type in place of data": b"}U\x04data" + type_ + b"s.",
        "a memo that fills the memory": b"\x80\x02}r\xff\xff\xff\x7f.",
        "a length that fills the memory": b"\x80\x04\x8e" + struct.pack("<Q", 2**50) + b"x.",
        "a list in place of a dictionary": b"]" + b".",
        "nothing": b"",
        "text": b"hello" + path,
        "an array without a state": b"}U\x04data" + array + b"s.",
    }
    dumped = {
        f"{name}, protocol {p}": pickle.dumps({"data": v}, protocol=p) for name, v in made.items() for p in (2, 4)
    }
    return dumped | raw


NAMES = payloads(Path("x"))


@pytest.mark.parametrize("name", NAMES)
def test_a_malicious_pickle_does_nothing_and_is_refused(name, tmp_path):
    victim = tmp_path / "executed"
    content = payloads(victim)[name]
    sentence(lambda: _pickles.load(content, "data_batch_1"), "data_batch_1", "pickle")
    assert not victim.exists()


def test_a_malicious_pickle_inside_a_data_set_is_refused(tmp_path):
    import os

    for kind, write, name in (
        ("cifar10", originals.cifar10_pickled(pickle.dumps), "cifar-10-batches-py/data_batch_2"),
        ("imagenet_chrabaszcz", originals.chrabaszcz_pickled, "train_data_batch_1"),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        written = write(folder)
        (folder / name).write_bytes(pickle.dumps({"data": Call(os.system, f"touch {tmp_path}/executed")}, protocol=2))
        text = sentence(source(kind, **written.keys).open, Path(name).name, "system", "not loaded")
        assert "posix" in text
    assert not (tmp_path / "executed").exists()


def test_a_pickle_without_labels_or_images_is_a_sentence(tmp_path):
    data = np.zeros((3, 3072), np.uint8)
    for batch, word in (
        ({"data": data}, "no labels"),
        ({"data": data, "labels": [1, "a", 3]}, "no labels"),
        ({"data": data, "labels": [1, -2, 3]}, "no labels"),
        ({"labels": [1]}, "under data"),
        ({"data": data.astype(np.float32), "labels": [1, 2, 3]}, "float32 [3, 3072]"),
        ({"data": data, "labels": [1, 2]}, "3 images and 2 labels"),
        ({"data": data[:0], "labels": []}, "no images"),
    ):
        (tmp_path / "val_data").write_bytes(pickle.dumps(batch, protocol=3))
        (tmp_path / "train_data_batch_1").write_bytes(pickle.dumps(batch, protocol=3))
        config = source("imagenet_chrabaszcz", path=str(tmp_path), originals=False, held_out=1)
        sentence(config.open, "train_data_batch_1", word)


# Pictures


def pixels(content: bytes, **form: Any) -> np.ndarray:
    return _pictures.decode(content, _pictures.Form(**{"size": 8, "filter": "box", **form}), "a.png")


def test_the_middle_of_a_picture_is_averaged_over_areas():
    grey = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24)
    averages = grey[:, 4:20].reshape(8, 2, 8, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(pixels(originals.encoded(grey), channels=1, crop="centre")[0], averages, atol=0.51)
    sentence(lambda: pixels(originals.encoded(grey), channels=1), "24 x 16 pixels", "data.crop=centre")
    sentence(lambda: pixels(originals.encoded(grey[:, :16]), filter=None), "16 x 16 pixels", "8 x 8")


@pytest.mark.parametrize("name", _pictures.FILTERS)
def test_filters_are_those_of_pillow(name):
    photo = originals.patches(1, 40)[0]
    expected = Image.fromarray(photo).resize((8, 8), getattr(Image.Resampling, name.upper()))
    np.testing.assert_array_equal(
        pixels(originals.encoded(photo), filter=name), np.asarray(expected).transpose(2, 0, 1)
    )


def test_colours_become_rgb_or_grey():
    photo = originals.patches(1, 8)[0]
    image = Image.fromarray(photo)
    exact = photo.transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels(originals.encoded(photo)), exact)
    np.testing.assert_array_equal(pixels(originals.encoded(photo), channels=1), np.asarray(image.convert("L"))[None])
    np.testing.assert_array_equal(pixels(originals.encoded(photo[..., 0])), np.stack([exact[0]] * 3))
    opaque = np.dstack([photo, np.full((8, 8), 255, np.uint8)])
    np.testing.assert_array_equal(pixels(originals.encoded(opaque)), exact)
    opaque[0, 0, 3] = 254
    sentence(lambda: pixels(originals.encoded(opaque)), "transparent")
    sentence(lambda: pixels(originals.encoded(np.full((8, 8), 4000, np.uint16))), "I;16", "8-bit")
    stream = io.BytesIO()
    image.convert("CMYK").save(stream, "JPEG")
    assert pixels(stream.getvalue()).shape == (3, 8, 8)


def test_what_is_no_picture_is_a_sentence(tmp_path):
    whole = originals.encoded(originals.patches(1, 8)[0])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (b"a text", b"", whole[:100], bytes(flipped), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a"):
        sentence(lambda content=content: pixels(content), "a.png", "not a whole picture")
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0)
    sentence(lambda: pixels(header + struct.pack(">I", __import__("zlib").crc32(header[12:]))), "a.png")
    config, folder = damaged_copy("images", tmp_path)
    (folder / "train" / "cat" / "001.png").write_text("I am a text")
    sentence(lambda: everything(config), "train/cat/001.png", "not a whole picture")


def test_images_lie_in_a_folder_a_zip_or_a_tar(tmp_path, splits_of):
    named = originals.image_files(tmp_path / "folder")
    contents = {name: (tmp_path / "folder" / name).read_bytes() for name in reversed(named)}
    (tmp_path / "a.zip").write_bytes(originals.zipped({f"top/{n}": c for n, c in contents.items()}))
    (tmp_path / "a.tar").write_bytes(
        originals.tar({"./readme.txt": b"x", **{f"./{n}": c for n, c in contents.items()}})
    )
    expected = pairs(originals.planes(np.stack(list(named.values()))), np.array(["cat" in name for name in named]))
    found = []
    for path in ("folder", "a.zip", "a.tar"):
        config = source("images", path=str(tmp_path / path), size=16)
        splits = splits_of(config)
        assert [len(splits[s].labels) for s in splits] == [16, 2, 2]
        assert sorted(pair for s in splits.values() for pair in pairs(s.raw, s.labels)) == sorted(expected)
        found.append([pairs(s.raw, s.labels) for s in splits.values()])
    assert found[0] == found[1] == found[2]
    small = source("images", path=str(tmp_path / "folder"), size=16, held_out=5, test=7)
    assert [len(rows) for rows in small.open().splits.values()] == [8, 5, 7]
    assert small.identity() != source("images", path=str(tmp_path / "folder"), size=16).identity()
    sentence(small.model_copy(update={"held_out": 13}).open, "too few", "data.held_out=")


def test_images_without_order_are_a_sentence(tmp_path):
    sentence(source("images", path=str(tmp_path)).open, "no images", ".png")
    originals.image_files(tmp_path)
    (tmp_path / "bare.png").write_bytes(originals.encoded(originals.patches(1, 16)[0]))
    sentence(source("images", path=str(tmp_path), size=16).open, "bare.png in none")
    (tmp_path / "a.tar.gz").write_bytes(originals.tar({"a.png": b""}, "w:gz"))
    sentence(source("images", path=str(tmp_path / "a.tar.gz")).open, "gunzip")
    sentence(source("images", path=str(tmp_path / "bare.png")).open, "neither a folder nor a tar or zip")
    (tmp_path / "a.zip").write_bytes(b"no zip")
    sentence(source("images", path=str(tmp_path / "a.zip")).open, "not a whole zip")
    twice = io.BytesIO()
    with tarfile.open(fileobj=twice, mode="w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a.png"))
    (tmp_path / "a.tar").write_bytes(twice.getvalue())
    sentence(source("images", path=str(tmp_path / "a.tar")).open, "two pictures of the name a.png")


def test_a_member_of_a_zip_that_cannot_be_unpacked_is_a_sentence(tmp_path):
    content = bytearray(originals.zipped({"a.png": bytes(range(256)) * 9, "b.png": b"b"}))
    content[60] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(content)
    store, members = _stores.opened(places.place(str(tmp_path / "a.zip"), ""))
    sentence(lambda: list(store.read(members)), "a.zip", "a.png cannot be unpacked")


# ImageNet


def test_labels_of_imagenet_that_do_not_fit_are_a_sentence(tmp_path):
    written = originals.imagenet_tar(tmp_path)
    config = source("imagenet", **written.keys)
    labels = tmp_path / "imagenet_2012_validation_synset_labels.txt"
    lines = labels.read_text().splitlines()
    for text, words in (
        ("\n".join(lines[1:]), ("5 labels for 6",)),
        ("\n".join(["n99999999", *lines[1:]]), ("n99999999", "no training images")),
        ("1\n2\n3\n1\n2\n3\n", ("synsets.txt", "numbers")),
    ):
        labels.write_text(text)
        sentence(config.open, labels.name, *words)
    labels.write_bytes(b"\xff\xfe")
    sentence(config.open, "not a text")
    labels.unlink()
    sentence(config.open, "labels of the validation images")
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(originals.tar({"a.tar": b""}))
    labels.write_text("\n".join(lines))
    sentence(config.open, "'a.tar' in it", "one tar of each synset")


def test_parquet_files_of_another_form_are_a_sentence(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = originals.imagenet_parquet(tmp_path)
    config, path = source("imagenet", **written.keys), tmp_path / "train-00001-of-00002.parquet"
    image = [{"bytes": originals.pictures(1, 0)[0], "path": "a"}]
    for table, word in (
        ({"image": [b"a"], "label": [1]}, "no column image with bytes"),
        ({"picture": image, "label": [1]}, "picture, label"),
        ({"image": image, "label": ["a"]}, "no column label"),
        ({"image": image}, "no column label"),
        ({"image": image, "label": [1000]}, "the label 1000"),
        ({"image": image, "label": [-1]}, "the label -1"),
        ({"image": [*image, {"bytes": None, "path": "a"}], "label": [1, 1]}, "0 bytes of a picture"),
        ({"image": [*image, None], "label": [1, 1]}, "0 bytes of a picture"),
        ({"image": image, "label": pa.array([None], pa.int64())}, "the label None"),
        ({"image": [{"bytes": b"text", "path": "a"}], "label": [1]}, "Row 0"),
    ):
        pq.write_table(pa.table(table), path)
        sentence(lambda: everything(config), path.name, word)
    path.write_bytes(path.read_bytes()[:-9])
    sentence(config.open, path.name, "not a whole Parquet file")


# Arrays


def test_an_array_is_split_and_its_layout_is_said(tmp_path, splits_of):
    images = originals.patches(30, 8)
    for layout, array in (("NHWC", images), ("NCHW", originals.planes(images)), ("NHW", images[..., 0])):
        np.save(tmp_path / "a.npy", array)
        config = source("arrays", path=str(tmp_path / "a.npy"), layout=layout, held_out=4, test=6)
        expected = originals.planes(images) if layout != "NHW" else images[:, None, ..., 0]
        splits = splits_of(config)
        assert [len(s.labels) for s in splits.values()] == [20, 4, 6]
        assert sorted(x.tobytes() for s in splits.values() for x in s.raw) == sorted(x.tobytes() for x in expected)
        assert config.levels == 256
    np.save(tmp_path / "a.npy", images)
    sentence(source("arrays", path=str(tmp_path / "a.npy")).open, "data.layout=NHWC or NCHW")
    sentence(source("arrays", path=str(tmp_path / "a.npy"), layout="ND").open, "data.layout=ND")


def test_points_are_float32_and_finite(tmp_path, splits_of):
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(">f4")
    np.savez(tmp_path / "a.npz", points=points, labels=np.arange(50) % 2)
    config = source("arrays", path=str(tmp_path / "a.npz"))
    splits = splits_of(config)
    assert (config.shape, config.levels) == ((3,), 0)
    assert splits["train"].raw.dtype == np.dtype("float32")
    np.testing.assert_array_equal(
        np.sort(np.concatenate([s.raw for s in splits.values()]), axis=0), np.sort(points, axis=0)
    )
    points[7, 1] = np.nan
    np.save(tmp_path / "a.npy", points)
    sentence(lambda: everything(source("arrays", path=str(tmp_path / "a.npy"))), "not finite")


def test_arrays_of_other_things_are_a_sentence(tmp_path):
    path, image = tmp_path / "a.npz", np.zeros((6, 4, 4), np.uint8)
    for arrays, word in (
        ({"a": np.array([{}] * 6, object)}, "pickle"),
        ({"a": image.astype(np.float64)}, "expected uint8"),
        ({"a": np.zeros((6, 4))}, "expected float32"),
        ({"a": image, "b": image}, "expected train and test"),
        ({}, "of no name"),
        ({"a": image[:0]}, "axes [0, 4, 4]"),
        ({"train": image}, "test is missing"),
        ({"train": image, "test": image[:, :2]}, "axes"),
        ({"train": image, "test": image, "test_labels": np.arange(6)}, "labels for test alone"),
        ({"a": image, "labels": np.arange(5)}, "expected 6 whole numbers"),
        ({"a": image, "labels": np.arange(6) - 1}, "below 0"),
        ({"a": np.zeros((6, 4), [("x", "u1")])}, "pickle"),
    ):
        np.savez(path, **arrays)
        sentence(lambda: everything(source("arrays", path=str(path))), "a.npz", word)
    for name, content in (("a.npy", b"text"), ("a.npy", np.lib.format.MAGIC_PREFIX + b"\x09\x00"), ("a.txt", b"1 2")):
        (tmp_path / name).write_bytes(content)
        sentence(source("arrays", path=str(tmp_path / name)).open, name)


# Photographs


def test_no_pixel_of_a_photograph_is_in_two_splits():
    seen = np.zeros((2, *photos.SHAPE[:2]), int)
    for size, stride in ((32, 8), (16, 5)):
        config = source("photos", size=size, stride=stride)
        opened = config.open()
        for k, split in enumerate(photos.BANDS, start=1):
            first, last = photos.BANDS[split]
            of = [part for part in opened.parts if part.pixels.shape[1] == last - first]
            assert sum(part.rows for part in of) >= len(opened.splits[split]) > 300
            seen[:, :, first:last] += k
    assert set(np.unique(seen)) <= {2, 4, 6}
    photographs = originals.photographs()
    part = opened.parts[1]  # "flower", the band for training
    patch = part.read().raw[-1].transpose(1, 2, 0)
    top, left = ((photos.SHAPE[0] - 16) // 5 * 5, (448 - 16) // 5 * 5)
    np.testing.assert_array_equal(patch, photographs[1, top : top + 16, left : left + 16])


def test_photographs_of_other_pixels_are_refused_by_a_sentence():
    other = originals.photographs()[0].copy()
    other[3, 4, 1] ^= 1
    sentence(lambda: photos.validate(other, "china.jpg"), "SHA-256", "Pillow", "constraints.txt")
    sentence(lambda: photos.validate(other[:-1], "china.jpg"), "[426, 640, 3]")
    assert source("photos", size=16).identity() != source("photos").identity() != source("photos", stride=4).identity()


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "s3://key:secret@bucket/data",
        "s3://key:se/cret@bucket/data",
        "s3://bucket/data?access_key=key&secret_key=secret",
        "s3://bucket/data?endpoint_override=http://user:secret@host",
        "https://user:secret@host/data",
        "s3://",
        "s3://bucket/a#secret",
    ],
)
def test_a_path_with_credentials_is_refused_and_not_repeated(path):
    with pytest.raises(ValidationError):
        source("cifar10", path=path)
    with pytest.raises(UserError) as caught:
        presets.load("digits-tiny", ["data.kind=cifar10", f'data.path="{path}"'])
    assert "data.path" in str(caught.value)
    assert "s3://bucket/key" in str(caught.value)
    for secret in ("secret", "cret@", "key:se"):
        assert secret not in str(caught.value)


def test_a_file_that_may_not_be_read_is_a_sentence(tmp_path):
    written = originals.mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.unlink()
    path.symlink_to(path)
    sentence(source("mnist", **written.keys).open, "train-images-idx3-ubyte")
    shutil.rmtree(tmp_path)
    sentence(source("mnist", **written.keys).open, str(tmp_path), "data.path=")
