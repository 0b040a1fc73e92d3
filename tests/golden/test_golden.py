"""The first losses of one preset per process, in float64: a change that should change no number changes none.

`losses.json` holds them with the reason of their last change. Where a change of numbers is meant, say why:
python tests/golden/test_golden.py "the reason" writes them anew. What may differ is the order in which a CPU's kernels
add: a few parts in 10^16 a step, which 24 steps of Adam raise to less than TOLERANCE.
"""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from ndm import presets
from ndm.build import build_objective, build_state
from ndm.likelihood.statistics import bits_per_dim
from ndm.objectives import Noise
from ndm.randomness import Stream
from ndm.training.step import Slots, noise, step

FILE = Path(__file__).with_name("losses.json")
SHAPE, LEVELS, BATCH, STEPS, TOLERANCE = (1, 8, 8), 17, 8, 24, 1e-9
SMALL = ["network.channels=8", "optimizer.warmup=64"]
PRESETS = {
    "digits-ndm": ["transform.network.width=32"],
    "digits-vdm": [],
    "digits-ddpm": [],
    "digits-flow": [],
    "digits-blurring": [],
    "digits-diffenc": [],
}


def losses(preset: str) -> list[float]:
    """Bits per dimension of the first steps, on digits made of random numbers."""
    experiment = presets.load(preset, [*SMALL, *PRESETS[preset]])
    objective = build_objective(experiment, SHAPE, LEVELS).double()
    state, found = build_state(experiment, objective), list[float]()
    for i in range(STEPS):
        position = i * BATCH
        raw = (Stream(0, "golden").uniform(position, BATCH, SHAPE) * LEVELS).to(torch.uint8)
        draws = Noise(*(part.double() for part in noise(experiment.seed, Slots(position, BATCH, 0, BATCH), SHAPE)))
        for group in state.optimizer.param_groups:
            group["lr"] = experiment.optimizer.rate(position + BATCH, experiment.training.examples)
        done = step(objective, state, objective.model.decoder.encode(raw).double(), draws, clip=1.0)
        state.ema.update(objective, i + 1)
        found.append(float(bits_per_dim(done.terms.double().sum() / BATCH, math.prod(SHAPE))))
    return found


@pytest.mark.parametrize("preset", PRESETS)
def test_the_first_losses_are_those_that_were_written_down(preset: str) -> None:
    expected = json.loads(FILE.read_text())["losses"][preset]
    assert losses(preset) == pytest.approx(expected, rel=TOLERANCE, abs=0)
    assert len(expected) == STEPS
    assert expected[-1] < expected[0]  # 24 steps learn something


if __name__ == "__main__":
    (reason,) = sys.argv[1:]
    content = {"reason": reason, "losses": {preset: losses(preset) for preset in PRESETS}}
    FILE.write_text(json.dumps(content, indent=1) + "\n")
