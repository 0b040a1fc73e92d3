"""What a folder consists of is told exactly, and nothing outside it can be named."""

from pathlib import Path

import pytest

from ndm.listing import Listing, Sealed
from ndm.training.checkpoint import Manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_bytes(b"one")
    (tmp_path / "c").write_bytes(b"")
    return tmp_path


def test_a_listing_comes_back_from_its_text_and_the_folder_is_whole(folder: Path) -> None:
    listing = Listing.of(folder, ["c", "a/b.txt"], {"run": "r"})
    assert Listing.read(listing.text()) == listing
    assert list(listing.files) == ["a/b.txt", "c"]
    assert listing.bytes == 3
    assert listing.wanting(folder) == []


@pytest.mark.parametrize("content", [b"two", b"on", None])
def test_a_file_that_is_missing_or_another_is_named(folder: Path, content: bytes | None) -> None:
    listing = Listing.of(folder, ["c", "a/b.txt"])
    (folder / "a" / "b.txt").unlink()
    if content is not None:
        (folder / "a" / "b.txt").write_bytes(content)
    assert listing.wanting(folder) == ["a/b.txt"]


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//b", "", ".", "a\\b", "a/\n"])
def test_a_path_out_of_the_folder_is_refused(folder: Path, path: str) -> None:
    text = Listing.of(folder, ["c"]).text().replace('"c"', f'"{path}"'.replace("\\", "\\\\").replace("\n", "\\n"))
    with pytest.raises(ValueError, match="below the folder"):
        Listing.read(text)


def test_a_listing_that_was_changed_is_refused(folder: Path) -> None:
    text = Listing.of(folder, ["c"], {"run": "r"}).text()
    with pytest.raises(ValueError, match="was changed"):
        Listing.read(text.replace('"r"', '"s"'))
    with pytest.raises(ValueError, match="cannot be used"):
        Listing.read("[]")


class LaterListing(Listing):
    format: int = 2


class LaterManifest(Manifest):
    format: int = 3


@pytest.mark.parametrize(
    ("ours", "later", "said"),
    [
        (Listing(files={}), LaterListing(files={}), ("is of format 2, not 1", "is of format 1, not 2")),
        (
            Manifest(position=1, meta={}, files={}),
            LaterManifest(position=1, meta={}, files={}),
            ("is of format 3, not 1", "is of format 1, not 3"),
        ),
    ],
    ids=["listing", "manifest of a checkpoint"],
)
def test_each_kind_of_record_has_a_format_of_its_own(ours: Sealed, later: Sealed, said: tuple[str, str]) -> None:
    """A later one of either kind is refused by the class of today, and that of today by the later class."""
    for record, other, sentence in zip((ours, later), (later, ours), said, strict=True):
        assert type(record).read(record.sealed().text()) == record.sealed()
        with pytest.raises(ValueError, match=f"^{sentence}$"):
            type(record).read(other.sealed().text())
