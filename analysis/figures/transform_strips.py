"""What a transform does to images: F(x, t) over t, and beneath it the difference F(x, t) - x. Of a run."""

import torch

from analysis.picture import Picture, canvas, styled
from analysis.run import Run
from analysis.tiles import are_images, composed
from ndm.training import numerics
from ndm.transforms.identity import Identity

NAME = "transform-strips"
GAP = 1
"""Pixels between two images."""


@styled
def draw(run: Run, *, rows: int = 4, steps: int = 8, count: int = 64) -> Picture | None:
    """The first `rows` test images at steps + 1 times; the differences' size is over the first `count`.

    None where the data are no images, or F(x, t) = x.
    """
    process = run.model.process
    if not are_images(run.manifest) or isinstance(process.transform, Identity):
        return None
    x = run.encoded("test", 0, count)
    times = torch.linspace(0, 1, steps + 1)
    with torch.no_grad(), numerics.exact():
        f = torch.stack([process.transform(x, t.to(x).expand(len(x))) for t in times]).cpu()  # [T, N, C, H, W]
        alpha = torch.stack([process.schedule(t.to(x)).alpha.mean() for t in times]).cpu()
    difference = f - x.cpu()
    rows = min(rows, len(x))
    rms = difference.square().flatten(1).mean(1).sqrt()
    outside = float((f[:, :rows].abs() > 1).float().mean())
    shown = difference[:, :rows].mean(2, keepdim=True)
    limit = max(float(shown.abs().max()), 1e-6)
    _, channels, height, width = x.shape
    size = (0.75 * (steps + 1) + 1.2, 0.75 * rows * height / width + 0.5)
    figure, axes = canvas(2, 1, size=size)
    above = composed((f[:, :rows].clamp(-1, 1) / 2 + 0.5).transpose(0, 1), 1.0, gap=GAP)
    axes[0, 0].imshow(above, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    below = composed(shown.transpose(0, 1), torch.nan, gap=GAP)
    drawn = axes[1, 0].imshow(below, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    bar = figure.colorbar(drawn, ax=axes[1, 0], shrink=0.9, pad=0.01)
    bar.set_label("F − x, units of the data")
    columns = [width / 2 - 0.5 + (width + GAP) * i for i in range(steps + 1)]
    axes[0, 0].set_xticks(columns, [f"t = {t:.3g}\nα = {a:.3f}" for t, a in zip(times, alpha, strict=True)])
    axes[1, 0].set_xticks(columns, [f"rms\n{value:.3f}" for value in rms])
    for axis, label in ((axes[0, 0], "F(x, t)"), (axes[1, 0], "F(x, t) − x")):
        axis.set_yticks([height / 2 - 0.5 + (height + GAP) * i for i in range(rows)], range(rows))
        axis.set_ylabel(f"{label}, test image")
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    colour = "" if channels == 1 else f", the mean of the {channels} channels"
    caption = (
        f"The transform F(x, t) (kind {run.experiment.transform.kind}) of the first {rows} test images of "
        f"{run.manifest.name} over t, and beneath it F(x, t) − x{colour}, on one scale from −{limit:.3g} to "
        f"{limit:.3g}; the data are in [−1, 1] and F is shown cut to it ({outside:.1%} of its values are outside). A "
        "latent is z = α F + σ ε, so where α is small the noise hides what F does. rms: the root mean square of F − x "
        f"over the pixels of the first {len(x)} test images. {run.name}, {run.weights}; no noise is in this figure."
    )
    return Picture(NAME, figure, caption)
