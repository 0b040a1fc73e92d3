"""Everything a training is between two steps, as named tensors and one integer."""

import torch
from torch import Tensor

from ndm.objectives import Objective
from ndm.training.ema import Ema
from ndm.training.profiles import Profiles

Tensors = dict[str, dict[str, Tensor]]


class State:
    """Weights, their averages, the optimiser's moments, and the number of examples seen."""

    def __init__(
        self, objective: Objective, optimizer: torch.optim.AdamW, ema: Ema, profiles: Profiles | None = None
    ) -> None:
        self.objective, self.optimizer, self.ema = objective, optimizer, ema
        self.profiles = profiles or Profiles(objective, ())
        self.position = 0

    def tensors(self) -> Tensors:
        """{"model": ..., "ema": ..., "optimizer": ...}, each name -> tensor, for a checkpoint; and those of `profiles`.

        They are the state's own: the next step changes them.
        """
        moments = {
            f"{name}/{key}": value
            for name, parameter in self.objective.named_parameters()
            for key, value in self.optimizer.state[parameter].items()
        }
        return {
            "model": dict(self.objective.state_dict()),
            "ema": dict(self.ema.objective.state_dict()),
            "optimizer": moments,
            **self.profiles.tensors(),
        }

    def load(self, tensors: Tensors, position: int) -> None:
        """Take over a copy of what `tensors()` gave at `position`.

        Raises:
            RuntimeError: names or shapes are not this objective's.
            UserError: an average of a width is asked for that was not tracked there.
        """
        self.profiles.load(tensors)
        self.objective.load_state_dict(tensors["model"])
        self.ema.objective.load_state_dict(tensors["ema"])
        parameters = dict(self.objective.named_parameters())
        self.optimizer.state.clear()
        for name, value in tensors["optimizer"].items():
            key, _, moment = name.rpartition("/")
            if key not in parameters or (value.ndim and value.shape != parameters[key].shape):
                raise RuntimeError(f"{name} is of no parameter of this objective")
            if moment == "step":  # torch keeps the count of steps on the CPU, but for its fused update
                device = parameters[key].device if self.optimizer.defaults["fused"] else "cpu"
                self.optimizer.state[parameters[key]][moment] = value.to(device, copy=True)
            else:  # laid out in memory as the weight is, which the fused update counts on
                self.optimizer.state[parameters[key]][moment] = torch.empty_like(parameters[key]).copy_(value)
        self.position = position
