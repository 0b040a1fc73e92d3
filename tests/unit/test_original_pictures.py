"""Pictures, arrays and photographs as sources: their pixels, their labels, and the sentences about what is none."""

import io
import shutil
import struct
import tarfile
from typing import Any

import numpy as np
import originals
import pytest
from PIL import Image
from pydantic import ValidationError
from sources import damaged_copy, everything, pairs, sentence, source

from ndm import presets
from ndm.data import places
from ndm.data.sources import _pictures, _stores, photos
from ndm.errors import UserError


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
