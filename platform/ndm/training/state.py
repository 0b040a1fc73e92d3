"""Everything a training is between two steps, as named tensors and one integer."""

import torch
from torch import Tensor

from ndm.objectives import Objective
from ndm.training.ema import Ema

Tensors = dict[str, dict[str, Tensor]]


class State:
    """Weights, their average, the optimiser's moments, and the number of examples seen."""

    def __init__(self, objective: Objective, optimizer: torch.optim.AdamW, ema: Ema) -> None:
        self.objective, self.optimizer, self.ema = objective, optimizer, ema
        self.position = 0

    def tensors(self) -> Tensors:
        """{"model": ..., "ema": ..., "optimizer": ...}, each name -> tensor, for a checkpoint."""
        moments = {
            f"{name}/{key}": value
            for name, parameter in self.objective.named_parameters()
            for key, value in self.optimizer.state[parameter].items()
        }
        return {
            "model": dict(self.objective.state_dict()),
            "ema": dict(self.ema.objective.state_dict()),
            "optimizer": moments,
        }

    def load(self, tensors: Tensors, position: int) -> None:
        """Take over what `tensors()` gave at `position`.

        Raises:
            RuntimeError: names or shapes are not this objective's.
        """
        self.objective.load_state_dict(tensors["model"])
        self.ema.objective.load_state_dict(tensors["ema"])
        parameters = dict(self.objective.named_parameters())
        self.optimizer.state.clear()
        for name, value in tensors["optimizer"].items():
            parameter, _, key = name.rpartition("/")
            self.optimizer.state[parameters[parameter]][key] = value.to(
                "cpu" if key == "step" else parameters[parameter].device
            )
        self.position = position
