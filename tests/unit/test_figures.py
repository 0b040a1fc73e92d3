"""Pictures: the right pixels at the right places, and files that are pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from ndm import presets
from ndm.build import build_objective
from ndm.data.manifest import Manifest
from ndm.data.prepare import prepare
from ndm.evaluation import figures

PNG = b"\x89PNG\r\n\x1a\n"
GREY = 128


def expected(raw: torch.Tensor, levels: int, columns: int, rows: int, factor: int) -> np.ndarray:
    """The grid by loops over pixels: [height, width, channels]."""
    n, channels, height, width = raw.shape
    canvas = np.full(((rows * (height + 1) + 1), (columns * (width + 1) + 1), channels), GREY, np.uint8)
    for i in range(n):
        for y in range(height):
            for x in range(width):
                for c in range(channels):
                    row, column = divmod(i, columns)
                    value = round(int(raw[i, c, y, x]) * 255 / (levels - 1))
                    canvas[1 + row * (height + 1) + y, 1 + column * (width + 1) + x, c] = value
    return canvas.repeat(factor, 0).repeat(factor, 1)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("n", "columns", "rows"), [(1, 1, 1), (5, 3, 2), (6, 3, 2), (7, 3, 3)])
def test_a_grid_has_every_pixel_in_its_place(levels, channels, n, columns, rows):
    generator = torch.Generator().manual_seed(n)
    raw = torch.randint(levels, (n, channels, 3, 4), generator=generator).to(torch.uint8)
    raw[0, 0, 0, 0], raw[0, 0, 0, 1] = 0, levels - 1
    picture = figures.grid(raw, levels)
    factor = -(-512 // max(columns * 5 + 1, rows * 4 + 1))
    assert picture.mode == ("L" if channels == 1 else "RGB")
    found = np.asarray(picture).reshape(picture.height, picture.width, channels)
    np.testing.assert_array_equal(found, expected(raw, levels, columns, rows, factor))
    assert max(picture.size) >= 512


def test_a_large_grid_is_not_enlarged():
    picture = figures.grid(torch.zeros(4, 3, 300, 300, dtype=torch.uint8), 256)
    assert picture.size == (603, 603)


def test_images_are_saved_as_a_grid_and_points_as_a_scatter(tmp_path):
    raw = torch.arange(64, dtype=torch.uint8).reshape(4, 1, 4, 4) % 17
    figures.samples(raw, 17, tmp_path / "new" / "images.png")
    with Image.open(tmp_path / "new" / "images.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(figures.grid(raw, 17)))
    figures.samples(torch.randn(50, 2), 0, tmp_path / "other" / "points.png")
    assert (tmp_path / "other" / "points.png").read_bytes().startswith(PNG)


def test_a_picture_shows_the_first_256_images_and_every_point(tmp_path):
    assert (figures.shown((1, 4, 4), 1000), figures.shown((3, 4, 4), 9), figures.shown((2,), 1000)) == (256, 9, 1000)
    raw = torch.arange(300, dtype=torch.uint8).reshape(300, 1, 1, 1).expand(-1, 1, 40, 40) % 17
    figures.samples(raw, 17, tmp_path / "many.png")
    with Image.open(tmp_path / "many.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(figures.grid(raw[:256], 17)))


def test_a_scatter_shows_its_points_where_they_are(tmp_path):
    """Two pictures differ where the points are: those of the right half of the plane are in the right half."""
    left, right = tmp_path / "left.png", tmp_path / "right.png"
    figures.scatter(torch.tensor([[-2.0, 0.0]]).repeat(30, 1), left)
    figures.scatter(torch.tensor([[2.0, 0.0]]).repeat(30, 1), right)
    pictures = []
    for path in (left, right):
        assert path.read_bytes().startswith(PNG)
        with Image.open(path) as picture:
            pictures.append(np.asarray(picture.convert("RGB")).astype(int))
    columns = np.flatnonzero((pictures[0] - pictures[1]).any(axis=2).any(axis=0))
    middle = pictures[0].shape[1] / 2
    assert columns.min() < middle < columns.max()
    blue = [np.flatnonzero(((p[..., 2] - p[..., 0]) > 60).any(axis=0)).mean() for p in pictures]
    assert blue[0] < middle < blue[1]


def test_an_archive_holds_the_stored_values(tmp_path):
    raw = torch.arange(32, dtype=torch.uint8).reshape(2, 1, 4, 4)
    figures.archive(raw, tmp_path / "samples.npz")
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as archive:
        assert archive.files == ["samples"]
        np.testing.assert_array_equal(archive["samples"], raw.numpy())
        assert archive["samples"].dtype == np.uint8


def test_the_forward_process_is_drawn_for_points_and_not_for_images(tmp_path):
    tiny = ["network={width: 8, depth: 1}", "transform.network={width: 8, depth: 1}", "data.examples=64"]
    experiment = presets.load("rings-ndm", tiny)
    manifest = Manifest.read(prepare(experiment.data, tmp_path))
    objective = build_objective(experiment, manifest.shape, manifest.levels)
    paths = figures.of_forward_process(objective, manifest, torch.randn(20, 2), tmp_path / "figures")
    assert [path.name for path in paths] == ["transform.png", "trajectories.png"]
    assert all(path.read_bytes().startswith(PNG) for path in paths)
    digits = presets.load("digits-tiny")
    images = Manifest.read(prepare(digits.data, tmp_path))
    model = build_objective(digits, images.shape, images.levels)
    assert figures.of_forward_process(model, images, torch.zeros(2, 1, 8, 8), tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
