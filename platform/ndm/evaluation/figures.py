"""Pictures of samples and of a learned forward process."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ndm.data.manifest import Manifest
from ndm.model import Model
from ndm.objectives import Objective
from ndm.randomness import Stream

TIMES = (0.0, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
MOST_IMAGES = 256
INK, ACCENT, PALE = "#1f2933", "#0072b2", "#9fb3c8"


def shown(shape: tuple[int, ...], count: int) -> int:
    """How many of `count` samples a picture shows: of images the first 256, of points all."""
    return min(count, MOST_IMAGES) if len(shape) == 3 else count


def samples(raw: Tensor, levels: int, path: Path) -> None:
    """Stored values [N, *shape] as one PNG: a grid of the first images, or a scatter of points for 2-D data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = raw[: shown(raw.shape[1:], len(raw))]
    if raw.ndim == 4:
        grid(raw, levels).save(path)
    else:
        scatter(raw, path)


def grid(raw: Tensor, levels: int, gap: int = 1) -> Image.Image:
    """Images [N, C, H, W] (C = 1 or 3) in a near-square grid, enlarged without smoothing to at least 512 pixels."""
    n, channels, height, width = raw.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    cell_h, cell_w = height + gap, width + gap
    canvas = np.full((rows * cell_h + gap, columns * cell_w + gap, channels), 128, np.uint8)
    for i, image in enumerate((raw.float() * (255 / (levels - 1))).round().to(torch.uint8).numpy()):
        top, left = gap + (i // columns) * cell_h, gap + (i % columns) * cell_w
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    picture = Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas)
    factor = max(1, -(-512 // max(picture.size)))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def archive(raw: Tensor, path: Path) -> None:
    """Stored values [N, *shape] as an npz with one array, `samples`."""
    np.savez_compressed(path, samples=raw.numpy())


def scatter(raw: Tensor, path: Path) -> None:
    """Points [N, 2]."""
    figure, axes = _canvas(1, 1, 5)
    _points(axes[0, 0], raw)
    _save(figure, path)


@torch.no_grad()
def transform_over_time(model: Model, x: Tensor, path: Path) -> None:
    """F_phi(x, t) of 2-D data x: [N, 2] at several t: where the learned forward process moves the data's centre."""
    figure, axes = _canvas(1, len(TIMES), 2.4)
    for axis, t in zip(axes[0], TIMES, strict=True):
        _points(axis, model.process.transform(x, x.new_full((len(x),), t)), radius=3.2)
        axis.set_title(f"F(x, {t:g})", fontsize=10, color=INK)
    _save(figure, path)


@torch.no_grad()
def trajectories(model: Model, path: Path, *, count: int = 128, steps: int = 100, seed: int = 0) -> None:
    """Paths of the probability-flow ODE from t = 1 to t = 0 in 2-D, by Heun's method, with the latents at several t."""
    z = Stream(seed, "figure/z_1").normal(0, count, model.shape)
    path_points = [z]
    grid_t = torch.linspace(1, 0, steps + 1)
    for t, s in pairwise(grid_t):
        slope = model.velocity(z, t.expand(count))
        ahead = model.velocity(z + (s - t) * slope, s.expand(count))
        z = z + (s - t) * (slope + ahead) / 2
        path_points.append(z)
    lines = torch.stack(path_points).numpy()
    figure, axes = _canvas(1, 1, 6)
    axis = axes[0, 0]
    axis.plot(lines[:, :, 0], lines[:, :, 1], color=PALE, linewidth=0.7)
    axis.scatter(lines[0, :, 0], lines[0, :, 1], s=9, color=INK, label="z at t = 1", zorder=3)
    axis.scatter(lines[-1, :, 0], lines[-1, :, 1], s=12, color=ACCENT, label="z at t = 0", zorder=4)
    axis.legend(frameon=False, loc="upper right", fontsize=9)
    axis.set_title("Probability-flow ODE", fontsize=11, color=INK)
    _save(figure, path)


def of_forward_process(objective: Objective, manifest: Manifest, raw: Tensor, folder: Path) -> list[Path]:
    """The figures that data of this shape allow, written into `folder`."""
    if manifest.shape != (2,):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    transform, paths = folder / "transform.png", folder / "trajectories.png"
    transform_over_time(objective.model, objective.model.decoder.encode(raw), transform)
    trajectories(objective.model, paths)
    return [transform, paths]


def _canvas(rows: int, columns: int, size: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # half a second to import; only 2-D data need it

    figure = Figure(figsize=(columns * size, rows * size), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _points(axis: Any, points: Tensor, radius: float = 3.2) -> None:
    axis.scatter(*points.T.numpy(), s=3, color=ACCENT, alpha=0.6, linewidths=0)
    axis.set(xlim=(-radius, radius), ylim=(-radius, radius), aspect="equal")
    axis.tick_params(labelsize=7, colors=INK)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
