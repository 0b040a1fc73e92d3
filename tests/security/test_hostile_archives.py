"""Archives, arrays and pictures of others that were made to harm: bombs, odd members, sizes that lie.

What pickles can do, and files that are merely damaged, is in tests/unit/test_originals.py.
"""

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import refused
from PIL import Image

from ndm.data import places
from ndm.data.sources import _parquet, _pictures, _stores
from ndm.data.sources._pictures import Form
from ndm.registry import variant

BLOCK = tarfile.BLOCKSIZE
HOLES = 2**36


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A member's block with any size and kind."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT)[:BLOCK])
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)  # pyright: ignore[reportAttributeAccessIssue]
    block[156:157], block[148:156] = kind, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(**lines: str) -> bytes:
    """A member with such lines in front of it."""
    body = b""
    for key, value in lines.items():
        length = len(f" {key}={value}\n")
        length += len(str(length + len(str(length))))
        body += f"{length} {key}={value}\n".encode()
    padded = body + bytes(-len(body) % BLOCK)
    return header("about", len(body), tarfile.XHDTYPE) + padded + header("a.png", BLOCK) + bytes(3 * BLOCK)


def opened(path: Path, packed: bool = False) -> Any:
    return _stores.opened(places.place(str(path), "an archive"), packed=packed)


MEMBERS = {
    "a character device": header("a.png", 0, tarfile.CHRTYPE),
    "a block device": header("a.png", 0, tarfile.BLKTYPE),
    "a pipe": header("a.png", 0, tarfile.FIFOTYPE),
    "a hard link": header("a.png", 0, tarfile.LNKTYPE),
    "a negative size": header("a.png", -BLOCK),
    "a name of negative length": header("././@LongLink", -BLOCK, tarfile.GNUTYPE_LONGNAME),
    "a line of negative length": header("about", -BLOCK, tarfile.XHDTYPE),
    "a map that breaks off": pax(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}),
    "a map of no numbers": pax(**{"GNU.sparse.map": "a,b"}),
    "a size that is no number": pax(**{"GNU.sparse.size": "zz"}),
    "a size beyond all files": pax(size="9" * 30),
    "a negative size in a line": pax(size="-512"),
}


@pytest.mark.parametrize("member", MEMBERS)
def test_an_odd_member_of_a_tar_is_refused(tmp_path: Path, member: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(MEMBERS[member] + bytes(2 * BLOCK))
    refused(lambda: opened(path), "a.tar")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
def test_a_name_of_gigabytes_is_not_read(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(header("x", HOLES // 2, kind))
    os.truncate(path, HOLES)
    refused(lambda: opened(path), "not a whole tar")
    with gzip.open(tmp_path / "a.tgz", "wb", 1) as packed:
        packed.write(header("x", 2**30, kind))
        packed.write(bytes(2**22))
    refused(lambda: opened(tmp_path / "a.tgz", packed=True), "not a whole tar")


@pytest.mark.parametrize("name", ["../../escaped.png", "/escaped.png", "a/../../escaped.png", "a\\..\\escaped.png"])
def test_a_name_that_climbs_leads_nowhere(tmp_path: Path, name: str) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    content, folder = picture.getvalue(), tmp_path / "data"
    folder.mkdir()
    (folder / "a.tar").write_bytes(header(name, len(content)) + content + bytes(-len(content) % BLOCK + 2 * BLOCK))
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr(name, content)
    before = sorted(tmp_path.rglob("*"))
    for archive in ("a.tar", "a.zip"):
        store, members = opened(folder / archive)
        assert list(store.read(members)) == [content]
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/escaped.png").exists()


def test_a_zip_bomb_is_refused_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.png", "w") as member:
        for _ in range(300):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    refused(lambda: opened(path), "a.png in it would have")


def test_a_member_that_unpacks_to_more_than_it_announces_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2**28 - 1))
    content = path.read_bytes().replace(struct.pack("<I", 2**28 - 1), struct.pack("<I", 100))
    path.write_bytes(content)
    store, members = opened(path)
    assert members[0].size == 100
    refused(lambda: list(store.read(members)), "a.png cannot be unpacked")


def test_an_archive_in_an_archive_is_a_file_like_others(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.png", bytes(2**24))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.zip", inner.getvalue())
    source = variant("ndm.data.sources", "images").Config(path=str(tmp_path / "a.zip"))
    refused(source.open, "has no images")


def test_links_among_folders_are_not_walked(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"link{number}").symlink_to(tmp_path)
    refused(variant("ndm.data.sources", "images").Config(path=str(tmp_path)).open, "is a link to a folder")


def test_files_that_are_no_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    refused(variant("ndm.data.sources", "images").Config(path=str(tmp_path)).open, "has no images")


def test_a_file_of_holes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    os.truncate(tmp_path / "a.png", HOLES)
    refused(places.place(str(tmp_path / "a.png"), "").file().read, "a.png", "too many")


def npy(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


@pytest.mark.parametrize("shape", [(10**13, 2, 2), (2**80, 2, 2), (20, 10**6, 10**6)], ids=str)
def test_an_array_that_announces_more_than_its_file_holds_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    config = variant("ndm.data.sources", "arrays").Config
    (tmp_path / "a.npy").write_bytes(npy(shape, bytes(100)))
    refused(config(path=str(tmp_path / "a.npy")).open, "announces more rows")
    for stored in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", stored) as archive:
            archive.writestr("data.npy", npy(shape, bytes(10**6)))
        refused(config(path=str(tmp_path / "a.npz")).open, "announces more rows")


def test_an_array_of_huge_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy((20, 50_000, 50_000)))
    os.truncate(tmp_path / "a.npy", HOLES)
    refused(variant("ndm.data.sources", "arrays").Config(path=str(tmp_path / "a.npy")).open, "rows of 2500000000 bytes")


def test_a_packed_idx_file_is_unpacked_no_further_than_mnist_is_large(tmp_path: Path) -> None:
    mnist = variant("ndm.data.sources", "mnist")
    with gzip.open(tmp_path / "a.gz", "wb", 1) as packed:
        for _ in range(160):
            packed.write(bytes(2**20))
    refused(lambda: mnist.unpacked(places.place(str(tmp_path / "a.gz"), "").file()), "a.gz is damaged")
    (tmp_path / "b").touch()
    os.truncate(tmp_path / "b", HOLES)
    refused(lambda: mnist.unpacked(places.place(str(tmp_path / "b"), "").file()), "which no file of MNIST has")


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = {
    "of many pixels": chunk(b"IHDR", struct.pack(">IIBBBBB", 16_000, 16_000, 8, 2, 0, 0, 0)),
    "of a long packed text": chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**28), 9)),
    "of a large packed profile": chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**28), 9)),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_bomb_is_refused(picture: str) -> None:
    content = PNG + PICTURES[picture] + chunk(b"IDAT", zlib.compress(bytes(2**26), 9)) + chunk(b"IEND", b"")
    assert len(content) < 2**19
    refused(lambda: _pictures.decode(content[:-20], Form(8), "a.png"), "a.png")


def test_a_dictionary_of_large_pictures_is_read_a_few_rows_at_a_time(tmp_path: Path) -> None:
    """A hundred thousand rows of one megabyte each, in a file of one megabyte."""
    rows = 100_000
    large = pa.array([np.random.default_rng(0).bytes(2**20)], pa.binary())
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), large)
    image = pa.StructArray.from_arrays([column], ["bytes"])
    table = pa.table({"image": image, "label": pa.array(np.zeros(rows, np.int64))})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=rows)
    file = places.place(str(tmp_path / "a.parquet"), "").file()
    assert file.size < 2**22
    (part,) = _parquet.parts(file, Form(8), 10)
    refused(part.read, "Row 0", "not a whole picture")
