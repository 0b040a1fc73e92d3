"""The picture of the README: python docs/generate/front.py FOLDER, a run's on the digits. It is docs/images/front.png.

On the left one test image under the learned process: what F makes of it over t, the difference to the image, the latent
that it becomes, and what the network makes of that latent. On the right samples of the same run.
"""

import argparse
import sys
from pathlib import Path

import torch
from analysis.picture import STYLE
from analysis.run import Run, read
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

from ndm.cli import guarded
from ndm.errors import UserError
from ndm.randomness import Stream
from ndm.training import numerics

FILE = Path(__file__).resolve().parents[1] / "images" / "front.png"
IMAGE = 2
"""Of the test split."""
TIMES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
COLUMNS = 8
"""Of samples."""
DIFFERENCE = "−"
EDGE = "0.6"


def rows(run: Run) -> dict[str, Tensor]:
    """What stands in each row, [T, H, W] on the scale of the data."""
    model = run.model.objective.model
    x = run.encoded("test", IMAGE, IMAGE + 1).expand(len(TIMES), *run.model.shape)
    t = torch.tensor(TIMES).to(x)
    epsilon = Stream(0, "front").normal(0, 1, run.model.shape).to(x)
    with torch.no_grad(), numerics.exact():
        f = model.process.transform(x, t)
        z = model.process.latent(f, model.process.at(t, x), epsilon)
        made = {"F(x, t)": f, "F(x, t) − x": f - x, "latent z": z, "estimate of x": model.x_hat(z, t)}
    return {name: values[:, 0].cpu() for name, values in made.items()}


def draw(run: Run) -> Figure:
    """The picture.

    Raises:
        UserError: the run is of other data, or has no weights here.
    """
    if len(run.manifest.shape) != 3 or run.manifest.shape[0] != 1:
        raise UserError(f"{run.name} is not of grey images, of which the picture is; name a run on the digits.")
    process = rows(run)
    samples = run.model.sample(len(process) * COLUMNS, seed=0)[:, 0].unflatten(0, (len(process), COLUMNS))
    with rc_context({**STYLE, "font.size": 8}):
        figure = Figure(figsize=(9.8, 2.55), layout="constrained")
        widths = [1.0] * len(TIMES) + [0.35] + [1.0] * COLUMNS
        axes = figure.subplots(len(process), len(widths), gridspec_kw={"width_ratios": widths})
        for line, (name, images), drawn in zip(axes, process.items(), samples, strict=True):
            colours = "RdBu_r" if DIFFERENCE in name else "gray"
            for axis, image in zip(line, images, strict=False):
                axis.imshow(image.numpy(), interpolation="nearest", cmap=colours, vmin=-1, vmax=1)
            for axis, image in zip(line[-COLUMNS:], drawn, strict=True):
                axis.imshow(image.numpy(), interpolation="nearest", cmap="gray", vmin=0, vmax=run.model.levels - 1)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set(visible=bool(axis.images), color=EDGE, linewidth=0.5)
        for axis, t in zip(axes[0], TIMES, strict=False):
            axis.set_title(f"t = {t:g}", fontsize=8)
        axes[0, -COLUMNS // 2].set_title("samples", fontsize=8, loc="left")
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.02, wspace=0.02, hspace=0.02)  # type: ignore[union-attr]
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, metavar="FOLDER", help="a run's, such as runs/digits-ndm-c769f863")
    path = parser.parse_args().run.absolute()
    draw(read(path.parent, path.name)).savefig(FILE, dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(guarded(main))
