"""The presets of published data sets take real steps on small files in the original formats, and are scored on them."""

import json
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import originals
import pytest
from commands import checkpoints, here, likelihood, records
from pages import Page

from ndm import presets

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("embedded_ray")]

STEPS = 3
SMALLER = (
    "network.blocks=1",  # of 32 or 64
    "network.channels=8",  # of 128 or 256
    f"training={{examples: {8 * STEPS}, batch_size: 8}}",
    "monitor={log_every: 8, validate_every: 24, checkpoint_every: 24, validation_draws: 1}",
    "optimizer={lr: 0.01, warmup: 8}",  # of 2e-4 and 12,800: three steps are to move the weights
    "evaluation.draws=1",
    "sampler.steps=2",
    "samples={count: 2, quality: false}",
    "scaling.workers=1",
)
"""All else is the preset's: its process, head, levels of the network, attention, Fourier features and data."""

PRESETS: dict[str, Callable[[Path], originals.Written]] = {
    "cifar10-ndm": originals.cifar10_binary,
    "cifar10-vdm": originals.cifar10_packed,
    "imagenet32-oord-ndm": originals.oord,
    "imagenet32-chrabaszcz-ndm": originals.chrabaszcz_npz,
    "imagenet64-oord-ndm": partial(originals.oord, size=64),
}


ELSEWHERE = (
    "--address",
    "https://",
    "--queue",
    "--detach",
    "data.path=",
    "samples.extractor=",
    "samples.weights=",
    "count=",
)
"""What of the tutorial's words asks for a cluster, for ImageNet, for weights that nobody here has, or for hours."""


def overrides(name: str, written: originals.Written) -> list[str]:
    transform = presets.load(name).transform.kind != "identity"
    keys = [f"data.{key}={json.dumps(value)}" for key, value in written.keys.items()]
    return [*SMALLER, *(f"transform.{key}" for key in SMALLER[:2] if transform), *keys]


def curve(run: Path, key: str) -> list[float]:
    return [value for _, value in records(run, key)]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_on_the_original_files_and_scores_them(name: str, tmp_path: Path) -> None:
    written = PRESETS[name](tmp_path)
    given = overrides(name, written)
    here(tmp_path, "train", name, *given, "run.name=small")
    run = tmp_path / "runs" / "small"
    assert [step for step, _ in records(run, "train/bits_per_dim")] == [8, 16, 24]
    assert len(set(curve(run, "train/bits_per_dim"))) == STEPS
    assert checkpoints(run) == [8 * STEPS]
    raw, _ = written.test
    assert len(likelihood(run, "test-elbo_cont_k1")) == len(raw)
    results = json.loads((run / "results.json").read_text())
    (scored,) = results["likelihood"]["scores"]
    assert scored["data"]["name"] == presets.load(name).data.title
    assert 0 < scored["bits_per_dim"]["value"] < 100
    if name == "cifar10-vdm":
        flips_reach_the_workers(tmp_path, name, given)


def flips_reach_the_workers(folder: Path, name: str, given: list[str]) -> None:
    """Beside the finished run without flips: the same rows in the same batches, and other images."""
    here(folder, "train", name, *given, "run.name=flips", "data.flip=true", "scaling.workers=2")
    small, flips = folder / "runs" / "small", folder / "runs" / "flips"
    assert curve(small, "train/examples_checksum") == curve(flips, "train/examples_checksum")
    assert curve(small, "train/bits_per_dim")[-1] != pytest.approx(curve(flips, "train/bits_per_dim")[-1], rel=1e-3)


def test_the_tutorial_on_imagenet64_does_what_it_says_with_a_small_one(tmp_path: Path) -> None:
    """On this machine; that jobs, a store and Slurm take the same commands is tested where these are, in deploy."""
    given = overrides("imagenet64-oord-ndm", originals.oord(tmp_path, size=64))
    data = [key for key in given if key.startswith("data.")]
    run, page = tmp_path / "runs" / "first", Page("docs/tutorials/imagenet64-on-a-cluster.md")
    dry: list[str] = []
    for command in page.commands:
        program, verb, *words = shlex.split(command)
        if program != "ndm" or verb in ("jobs", "pull"):
            continue
        words = [word for word in words if not word.startswith(ELSEWHERE)]
        if "--dry-run" in words:
            dry.append(here(tmp_path, verb, *words).output)
            continue
        if verb == "data":
            (folder,) = (tmp_path / "runs" / "data").iterdir()
            words[-1] = folder.name
        more = {"prepare": data, "train": [*given, "scaling.workers=1", "scaling.microbatch=null"], "data": []}
        here(tmp_path, verb, *words, *more.get(verb, ["evaluation.draws=1"]))
    tables = {path.stem for path in run.glob("likelihood/test-*.parquet")}
    assert len(tables) == 3  # of the training, and two of the best checkpoint
    assert list(run.glob("samples/exponential-*.npz"))
    assert list(tmp_path.glob("exports/first*/README.md"))
    costs_are_those_of_the_page(" ".join(page.text.split()), *map(counted, dry))


def counted(said: str) -> dict[str, float]:
    """What a dry run counts, by its label."""
    rows = re.findall(r"^# +(\S.*?) {2,}([\d,.]+)", said, re.MULTILINE)
    return {label: float(number.replace(",", "")) for label, number in rows}


def costs_are_those_of_the_page(said: str, whole: dict[str, float], smaller: dict[str, float]) -> None:
    """With the preset's transform, and with one of a quarter of the blocks."""
    million, tera = 1e6, 1e12
    parameters, evaluations = whole["denoiser parameters"] / million, whole["in denoiser forwards"]
    assert whole["transform parameters"] / million == pytest.approx(parameters, rel=0.005)
    for words in (
        f"{parameters:.0f} million parameters in the denoiser and as many in F, ",
        f"{whole['denoiser, one forward'] / tera:.2f} TFLOPs for one evaluation on one image, ",
        f"a training step of {evaluations:.0f} such evaluations: {whole['training step'] / tera:.1f} TFLOPs an image, ",
        f"it has {smaller['transform parameters'] / million:.0f} million parameters and a step takes ",
        f"{smaller['in denoiser forwards']:.1f} evaluations, {smaller['training step'] / tera:.1f} TFLOPs.",
    ):
        assert words in said
    assert "six times the step with F(x, t) = x" in said
    assert round(evaluations / whole["with F(x, t) = x"]) == 6
