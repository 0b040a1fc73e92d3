"""What a folder consists of is told exactly, and nothing outside it can be named."""

from pathlib import Path

import pytest

from ndm.listing import Listing


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
