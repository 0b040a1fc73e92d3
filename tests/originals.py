"""Writes small data sets in the formats of the originals, from patches of the photographs that scikit-learn ships.

Each writer fills a folder and returns the keys of a configuration that reads it, and the examples that are in it.
"""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


class Written(NamedTuple):
    """A data set in a folder."""

    keys: dict[str, Any]
    """Of the configuration, with the path."""
    train: tuple[np.ndarray, np.ndarray]
    """Raw [N, C, H, W] and labels [N], in the order of the original."""
    test: tuple[np.ndarray, np.ndarray]


@cache
def photographs() -> np.ndarray:
    from sklearn.datasets import load_sample_images

    return np.stack(load_sample_images().images)


def patches(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Patches [N, size, size, 3] of the photographs, all different."""
    photos, generator = photographs(), np.random.default_rng(seed)
    places = generator.choice((photos.shape[1] - size) * (photos.shape[2] - size), count, replace=False)
    tops, lefts = np.divmod(places, photos.shape[2] - size)
    return np.stack(
        [photos[i % 2, t : t + size, x : x + size] for i, (t, x) in enumerate(zip(tops, lefts, strict=True))]
    )


def planes(images: np.ndarray) -> np.ndarray:
    """[N, H, W, C] as [N, C, H, W]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def numbers(count: int, classes: int) -> np.ndarray:
    return np.arange(count) * 7 % classes


def encoded(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    """A picture file of uint8 [H, W, 3] or [H, W]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def tar(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    """A tar of named contents."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


# CIFAR-10


def python_2(batch: Mapping[str, Any]) -> bytes:
    """A dictionary as Python 2 and the numpy of its time pickled it, opcode by opcode; its texts are bytes."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    def array(value: np.ndarray) -> bytes:
        made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
        dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
        dtype += b"(" + number(3) + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff" + number(0) + b"tb"
        shape = b"".join(b"M" + struct.pack("<H", n) for n in value.shape) + b"\x86"
        return made + b"(" + number(1) + shape + dtype + b"\x89" + text(value.tobytes()) + b"tb"

    def any_(value: Any) -> bytes:
        match value:
            case bytes():
                return text(value)
            case np.ndarray():
                return array(value)
            case list():
                return b"](" + b"".join(any_(item) for item in value) + b"e"
        return number(value)

    items = b"".join(text(key.encode()) + any_(value) for key, value in batch.items())
    return b"\x80\x02}q\x00(" + items + b"u."


def cifar10_batches(rows: int = 8) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    return {name: (planes(patches(rows, 32, seed=k)), numbers(rows, 10)) for k, name in enumerate(names)}


def _cifar10(folder: Path, batches: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Written:
    *train, test = batches.values()
    raw, labels = (np.concatenate([batch[i] for batch in train]) for i in (0, 1))
    return Written({"path": str(folder), "held_out": 5, "originals": False}, (raw, labels), test)


def cifar10_binary(folder: Path) -> Written:
    batches = cifar10_batches()
    for name, (raw, labels) in batches.items():
        rows = [bytes([label]) + image.tobytes() for image, label in zip(raw, labels, strict=True)]
        (folder / f"{name}.bin").write_bytes(b"".join(rows))
    return _cifar10(folder, batches)


def cifar10_pickled(dump: Callable[[Mapping[str, Any]], bytes]) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        batches = cifar10_batches()
        inner = folder / "cifar-10-batches-py"
        inner.mkdir()
        for name, (raw, labels) in batches.items():
            batch = {"batch_label": b"a part", "labels": labels.tolist(), "data": raw.reshape(len(raw), -1)}
            (inner / name).write_bytes(dump(batch))
        (inner / "readme.html").write_text("not a batch")
        return _cifar10(folder, batches)

    return write


def cifar10_packed(folder: Path) -> Written:
    """A .tar.gz."""
    written = cifar10_binary(folder)
    names = {f"cifar-10-batches-bin/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    (folder / "packed.tar.gz").write_bytes(tar(names, "w:gz"))
    return written._replace(keys=written.keys | {"path": str(folder / "packed.tar.gz")})


# MNIST


def mnist(folder: Path, *, packed: bool = True, **keys: Any) -> Written:
    parts = []
    for k, (name, rows) in enumerate({"train": 20, "t10k": 6}.items()):
        grey, labels = patches(rows, 28, seed=k).mean(axis=3).astype(np.uint8), numbers(rows, 10)
        for kind, sizes, content in (("images-idx3", grey.shape, grey), ("labels-idx1", labels.shape, labels)):
            head = struct.pack(f">BBBB{len(sizes)}I", 0, 0, 8, len(sizes), *sizes)
            path = folder / f"{name}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes((gzip.compress if packed else bytes)(head + content.astype(np.uint8).tobytes()))
        parts.append((grey[:, None], labels))
    return Written({"path": str(folder), "held_out": 4, "originals": False, **keys}, *parts)


# ImageNet, small


def oord(folder: Path, *, size: int = 32, unpacked: bool = False) -> Written:
    parts = []
    for k, (split, rows) in enumerate({"train": 20, "valid": 6}.items()):
        images = patches(rows, size, seed=k)
        name = f"{split}_{size}x{size}"
        # Names count from 1; the order in the tar is not theirs.
        members = {f"{name}/{i + 1:07d}.png": encoded(images[i]) for i in np.random.default_rng(k).permutation(rows)}
        if unpacked:
            (folder / name).mkdir()
            for member, content in members.items():
                (folder / member).write_bytes(content)
        else:
            (folder / f"{name}.tar").write_bytes(tar(members))
        parts.append((planes(images), np.zeros(rows, np.int64)))
    return Written({"path": str(folder), "size": size, "held_out": 3, "originals": False}, *parts)


def _chrabaszcz(folder: Path, size: int, write: Callable[[str, dict[str, Any]], None]) -> Written:
    images, labels = planes(patches(26, size)), numbers(26, 1000)
    for name, rows in {
        "train_data_batch_1": slice(0, 12),
        "train_data_batch_2": slice(12, 20),
        "val_data": slice(20, 26),
    }.items():
        write(name, {"data": images[rows].reshape(-1, 3 * size**2), "labels": (labels[rows] + 1).tolist()})
    keys = {"path": str(folder), "size": size, "held_out": 3, "originals": False}
    return Written(keys, (images[:20], labels[:20]), (images[20:], labels[20:]))


def chrabaszcz_npz(folder: Path, *, size: int = 32, packed: bool = False) -> Written:
    def write(name: str, batch: dict[str, Any]) -> None:
        (np.savez_compressed if packed else np.savez)(folder / f"{name}.npz", **batch)

    return _chrabaszcz(folder, size, write)


def chrabaszcz_pickled(folder: Path, *, protocol: int = 3) -> Written:
    def write(name: str, batch: dict[str, Any]) -> None:
        batch["mean"] = batch["data"].mean(axis=0)
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))

    return _chrabaszcz(folder, 32, write)


# ImageNet, its pictures

SYNSETS = ("n01440764", "n01443537", "n02105855")


def pictures(count: int, seed: int) -> list[bytes]:
    """JPEG files of different proportions."""
    wide, high = patches(count, 128, seed)[:, :96], patches(count, 128, seed + 100)[:, :, :80]
    return [encoded((wide if i % 2 else high)[i], "JPEG", quality=90) for i in range(count)]


def made_small(contents: Sequence[bytes], size: int) -> np.ndarray:
    """[N, 3, size, size]: of the centred square, averages of the pixels whose centres lie in a new pixel.

    By matrices, from Pillow's decoding alone.
    """

    def average(side: int) -> np.ndarray:
        edges, centres = np.arange(size + 1) * side / size, np.arange(side) + 0.5
        inside = (edges[:-1, None] < centres) & (centres <= edges[1:, None])
        return inside / inside.sum(axis=1, keepdims=True)

    small = []
    for content in contents:
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float64)
        side = min(pixels.shape[:2])
        top, left = ((n - side) // 2 for n in pixels.shape[:2])
        square = pixels[top : top + side, left : left + side]
        small.append(np.einsum("ij,jkc,lk->cil", average(side), square, average(side)))
    return np.stack(small)


def imagenet_tar(folder: Path, *, named: bool = True, size: int = 32) -> Written:
    train, test = pictures(12, 0), pictures(6, 50)
    labels, held = np.repeat(np.arange(3), 4), np.array([2, 0, 1, 1, 0, 2])
    inner = {
        f"{synset}.tar": tar({f"{synset}_{i}.JPEG": train[i] for i in np.flatnonzero(labels == k)[::-1]})
        for k, synset in reversed(list(enumerate(SYNSETS)))
    }
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar(inner))
    validation = {f"ILSVRC2012_val_{i + 1:08d}.JPEG": test[i] for i in (3, 0, 5, 1, 2, 4)}
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar(validation))
    if named:
        lines = [SYNSETS[k] for k in held]
        (folder / "imagenet_2012_validation_synset_labels.txt").write_text("\n".join(lines) + "\n")
    else:
        by_number = [SYNSETS[1], SYNSETS[2], SYNSETS[0]]
        (folder / "synsets.txt").write_text("\n".join(by_number))
        lines = [str(by_number.index(SYNSETS[k]) + 1) for k in held]
        (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(lines))
    keys = {"path": str(folder), "size": size, "held_out": 3, "originals": False}
    names = [f"{SYNSETS[k]}_{i}.JPEG" for i, k in enumerate(labels)]
    order = np.argsort(names)
    return Written(keys, (made_small(train, size)[order], labels[order]), (made_small(test, size), held))


def imagenet_parquet(folder: Path, *, size: int = 32) -> Written:
    train, test = pictures(12, 0), pictures(6, 50)
    labels, held = numbers(12, 1000), np.array([999, 0, 1, 1, 0, 2])
    for name, contents, classes in (
        ("train-00000-of-00002", train[:7], labels[:7]),
        ("train-00001-of-00002", train[7:], labels[7:]),
        ("validation-00000-of-00001", test, held),
    ):
        images = [{"bytes": content, "path": f"{i}.JPEG"} for i, content in enumerate(contents)]
        pq.write_table(pa.table({"image": images, "label": classes}), folder / f"{name}.parquet", row_group_size=3)
    keys = {"path": str(folder), "size": size, "held_out": 3, "originals": False, "form": "parquet"}
    return Written(keys, (made_small(train, size), labels), (made_small(test, size), held))


# One's own


def arrays(folder: Path) -> Written:
    """An .npz with splits of its own."""
    images, labels = patches(20, 16), numbers(20, 5)
    split = {"train": images[:12], "validation": images[12:15], "test": images[15:]}
    named = {f"{name}_labels": y for name, y in zip(split, (labels[:12], labels[12:15], labels[15:]), strict=True)}
    np.savez(folder / "mine.npz", **split, **named)
    raw = planes(images)
    return Written(
        {"path": str(folder / "mine.npz"), "layout": "NHWC"}, (raw[:15], labels[:15]), (raw[15:], labels[15:])
    )


def image_files(folder: Path) -> dict[str, np.ndarray]:
    """Twenty PNG files in two classes; their pixels by name."""
    images = patches(20, 16)
    named = {f"{'cat' if i % 3 else 'ant'}/{i:03d}.png": images[i] for i in range(20)}
    for name, pixels in named.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(encoded(pixels))
    return dict(sorted(named.items()))


def images(folder: Path) -> Written:
    """A folder with splits of its own."""
    parts = {}
    for split in ("train", "test"):
        named = image_files(folder / split)
        parts[split] = (planes(np.stack(list(named.values()))), np.array([int("cat" in name) for name in named]))
    return Written({"path": str(folder), "size": 16, "held_out": 2}, parts["train"], parts["test"])


def zipped(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


WRITERS: dict[str, Callable[[Path], Written]] = {
    "arrays": arrays,
    "cifar10": cifar10_binary,
    "images": images,
    "imagenet": imagenet_tar,
    "imagenet_chrabaszcz": chrabaszcz_npz,
    "imagenet_oord": oord,
    "mnist": mnist,
}
"""For every source that reads files, what it is meant to read."""
