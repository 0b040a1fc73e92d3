"""From a resolved experiment and the shape of its data to the objective that is trained."""

import torch

from ndm import decoders
from ndm.config import Experiment
from ndm.model import Model
from ndm.objectives import Objective
from ndm.training import numerics
from ndm.training.ema import Ema
from ndm.training.profiles import Profiles
from ndm.training.state import State


def build_objective(experiment: Experiment, shape: tuple[int, ...], levels: int) -> Objective:
    """The untrained objective; its weights are a function of `experiment.seed`.

    `levels` is the number of values a stored pixel can take, 0 for continuous data.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.seed)
        transform, head = experiment.transform.build(shape), experiment.head.build()
        volatility = experiment.volatility.build(transform, shape)
        process = experiment.process.build(experiment.schedule.build(shape), transform, volatility)
        network = experiment.network.build(shape, head.outputs)
        model = Model(process, network, head, decoders.for_levels(levels), shape)
    return experiment.objective.build(model)


def build_state(experiment: Experiment, objective: Objective) -> State:
    """The state of a training before its first step; only the objective itself, not its averages, trains as asked."""
    ema, profiles = Ema(objective, experiment.training.ema), Profiles(objective, experiment.monitor.ema_widths)
    numerics.prepare(objective, experiment.training)
    return State(objective, experiment.optimizer.build(objective), ema, profiles)
