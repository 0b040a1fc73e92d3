"""Probability-flow ODE of the model, dz/dt = u(z, t, x_hat(z, t)), integrated from t = 1 to t = 0 by torchdiffeq.

For NDM, u = d(alpha F)/dt + (sigma'/sigma)(z - alpha F) at F(x_hat, t) with x_hat held fixed in the time derivative.
"""

from typing import Any, Literal, cast

from pydantic import Field
from torch import Tensor

from ndm import registry
from ndm.model import Model
from ndm.sampling._base import Draw, Sampler


class Config(registry.Config):
    kind: Literal["ode"] = "ode"
    tolerance: float = Field(default=1e-4, gt=0)
    """Relative and absolute tolerance of the adaptive solver; its step size is shared by the batch."""

    def build(self, trained_steps: int | None) -> "Ode":
        del trained_steps
        return Ode(self.tolerance)


class Ode(Sampler):
    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def run(self, model: Model, z: Tensor, first_id: int, seed: int) -> Draw:
        # Brings SciPy's integrators along, half a second that every process would wait for.
        from torchdiffeq import odeint  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

        del first_id, seed
        evaluations = 0

        def velocity(t: Tensor, z: Tensor) -> Tensor:
            nonlocal evaluations
            evaluations += 1
            return model.velocity(z, t.clamp(0, 1).to(z.dtype).expand(len(z)))

        # Schedules are undefined outside [0, 1]. step_t makes the last step land on t = 0 instead of past it; the
        # solver's trial of a first step length, huge where the flow stands still, is kept inside by the clamp.
        times = z.new_tensor([1.0, 0.0])
        solver: dict[str, Any] = {
            "rtol": self.tolerance,
            "atol": self.tolerance,
            "method": "dopri5",
            "options": {"step_t": times[1:]},
        }
        path = cast(Tensor, odeint(velocity, z, times, **solver))
        return Draw(path[-1], evaluations)
