"""Estimators of -ln p(x) by name; the name is the recipe, on the command line as in the results.

    elbo                     the bound that the model was trained on, every step or K stratified draws
    elbo_cont_k64            the bound in continuous time, 64 draws per image
    elbo_cont_k64_logistic   with times from the closed-form proposal of `time`; or _adaptive, fitted to the model
    elbo_T10, elbo_T1000_k64 the bound in T steps: every step once, or a stratified draw of them
    ode                      ode_tn_k1_h1, or ode_point_exact for continuous data
    ode_tn_k1_h1             the probability-flow ODE: way of `dequantise`, K latents, probes (h signs, g normals)
    ode_uniform_k20_exact    with the exact trace, which K > 1 needs

An estimator is handed to many workers and gives each block of images its columns.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self, get_args

import torch
from torch import Tensor

from ndm.decoders.categorical import Categorical
from ndm.errors import UserError
from ndm.heads import DriftHead
from ndm.likelihood import importance
from ndm.likelihood.dequantise import Way, ways_for
from ndm.likelihood.elbo import drawn, full_draws, recipe
from ndm.likelihood.importance import Settings, fitted_width, ode_nats
from ndm.likelihood.time import UNIFORM, Proposal, adaptive, logistic
from ndm.model import NO_PAIR
from ndm.objectives import Objective, Terms
from ndm.objectives.continuous import Continuous
from ndm.objectives.discrete import Discrete

BOUND = re.compile(
    r"elbo_(?:cont_k(?P<draws>[1-9]\d*)(?:_(?P<proposal>logistic|adaptive))?|T(?P<T>[1-9]\d*)(?:_k(?P<k>[1-9]\d*))?)"
)
ODE = re.compile(r"ode_(?P<way>[a-z]+?)(?:_k(?P<draws>[1-9]\d*))?_(?:(?P<law>[hg])(?P<probes>[1-9]\d*)|exact)")
EXAMPLES = "elbo, elbo_cont_k64, elbo_cont_k64_adaptive, elbo_T100, ode, ode_tn_k1_h1 or ode_uniform_k20_exact"
SLICES = 10
"""Equal parts of time into which the diffusion term is split."""
PILOT = 64
"""Images of the validation split to which proposals are fitted."""
FEW = 16
"""Those to which widths are: they share their noise, so that few tell widths apart."""


def valid_name(name: str) -> str:
    """The name, if it is one.

    Raises:
        ValueError: it is not; the message follows "it must be".
    """
    if name in ("elbo", "ode") or BOUND.fullmatch(name):
        return name
    match = ODE.fullmatch(name)
    if match is None or match["way"] not in get_args(Way):
        raise ValueError(f"an estimator such as {EXAMPLES}")
    if (match["draws"] is None) != (match["way"] == "point"):
        raise ValueError("ode_point without _k, or another way with the number of latents, such as ode_tn_k1_h1")
    if int(match["draws"] or 1) > 1 and match["law"]:
        raise ValueError("an estimator whose K > 1 latents have the exact trace, such as ode_tn_k20_exact")
    return name


class Pilot(NamedTuple):
    """What an estimator may be fitted to before it is used: images in model space, [B, *shape], and a seed of noise."""

    x: Tensor
    seed: int


class Estimator(ABC):
    """An estimator as it is handed to workers; plain data, so that it can be sent and hashed."""

    name: str

    @property
    @abstractmethod
    def draws_per_image(self) -> int:
        """Draws K that are averaged, or weighed, for one image."""

    @property
    @abstractmethod
    def needs_fitting(self) -> bool:
        """Whether `fitted` has work to do."""

    @abstractmethod
    def check(self, objective: Objective) -> None:
        """Refuse a model that cannot be scored so.

        Raises:
            UserError: saying what could be done.
        """

    @abstractmethod
    def fitted(self, objective: Objective, pilot: Pilot) -> Self:
        """The estimator with what it takes from the model and from held-out images; itself, if that is nothing."""

    @abstractmethod
    def columns(self, objective: Objective, x: Tensor, first_id: int, *, seed: int) -> dict[str, Tensor]:
        """Per image of x: [B, *shape], ids from first_id: `nats` [B] and what goes with them, all float64."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What the name does not say of the recipe; what is yet to be fitted is left out."""


@dataclass(frozen=True)
class Bound(Estimator):
    """The variational bound in T steps, or in continuous time for None."""

    name: str
    steps: int | None
    draws: int
    fit: str | None = None
    """The proposal that is yet to be fitted, by its suffix."""
    proposal: Proposal = UNIFORM

    @property
    def draws_per_image(self) -> int:
        return self.draws

    @property
    def needs_fitting(self) -> bool:
        return self.fit is not None

    def check(self, objective: Objective) -> None:
        if self.steps is not None and isinstance(objective.model.head, DriftHead):
            raise UserError(f"The estimator {self.name} asks for F at two times; {NO_PAIR}.")

    def fitted(self, objective: Objective, pilot: Pilot) -> "Bound":
        match self.fit:
            case None:
                return self
            case "adaptive":
                found = adaptive(self._bound(objective), pilot.x, 0, seed=pilot.seed)
            case _:
                found = logistic(objective.model, pilot.x)
        return replace(self, fit=None, proposal=found)

    def columns(self, objective: Objective, x: Tensor, first_id: int, *, seed: int) -> dict[str, Tensor]:
        terms = {name: x.new_zeros(len(x), dtype=torch.float64) for name in Terms._fields}
        slices = x.new_zeros(len(x), SLICES, dtype=torch.float64)
        rows = torch.arange(len(x), device=x.device)
        draws = drawn(self._bound(objective), x, first_id, seed=seed, draws=self.draws, proposal=self.proposal)
        for t, each in draws:
            for name, total in terms.items():
                total += getattr(each, name).double() / self.draws
            slices[rows, (t * SLICES).long().clamp(max=SLICES - 1)] += each.diffusion.double() / self.draws
        return {"nats": sum(terms.values(), torch.zeros_like(slices[:, 0])), **terms, "diffusion_by_time": slices}

    def about(self) -> dict[str, Any]:
        return {"proposal": repr(self.proposal)} if self.proposal != UNIFORM else {}

    def _bound(self, objective: Objective) -> Objective:
        if objective.steps == self.steps:
            return objective
        return Continuous(objective.model) if self.steps is None else Discrete(objective.model, self.steps)


@dataclass(frozen=True)
class Ode(Estimator):
    """The negative log-likelihood of the deterministic model."""

    name: str
    settings: Settings = field(default_factory=Settings)
    fit: bool = False
    """Whether the width of the latents is yet to be fitted."""

    @property
    def draws_per_image(self) -> int:
        return self.settings.draws

    @property
    def needs_fitting(self) -> bool:
        return self.fit

    def check(self, objective: Objective) -> None:
        if isinstance(objective.model.head, DriftHead):
            raise UserError(f"The estimator {self.name} needs the probability-flow ODE; {NO_PAIR}.")
        decoder = objective.model.decoder
        levels = decoder.levels if isinstance(decoder, Categorical) else 0
        if self.settings.way not in ways_for(levels):
            kind = "levels" if levels else "continuous values"
            ways = ", ".join(ways_for(levels))
            raise UserError(f"The estimator {self.name} is not for data of {kind}; the ways for them are {ways}.")

    def fitted(self, objective: Objective, pilot: Pilot) -> "Ode":
        if not self.needs_fitting:
            return self
        few = pilot.x[:FEW]
        width = fitted_width(objective.model, few, 0, seed=pilot.seed, settings=self.settings)
        return replace(self, fit=False, settings=self.settings.model_copy(update={"width": width}))

    def columns(self, objective: Objective, x: Tensor, first_id: int, *, seed: int) -> dict[str, Tensor]:
        found = ode_nats(objective.model, x, first_id, seed=seed, settings=self.settings)
        return {"nats": found.nats, "evaluations": found.evaluations, "solver_error": found.error}

    def about(self) -> dict[str, Any]:
        kept = {"tolerance": self.settings.tolerance}
        known = self.settings.way == "variational" and not self.fit
        return kept | ({"width": self.settings.width} if known else {})


def estimator(name: str, objective: Objective, *, draws: int, tolerance: float) -> Estimator:
    """The estimator of a valid name for a model; `draws` is for `elbo`, `tolerance` for the ODE.

    Raises:
        UserError: the model cannot be scored so.
    """
    made = _made(name, objective, draws, tolerance)
    made.check(objective)
    return made


def _made(name: str, objective: Objective, draws: int, tolerance: float) -> Estimator:
    if name == "elbo":
        full = full_draws(objective, draws)
        return Bound(recipe(objective, full), objective.steps, full)
    if match := BOUND.fullmatch(name):
        steps = int(match["T"]) if match["T"] else None
        return Bound(name, steps, int(match["draws"] or match["k"] or match["T"]), fit=match["proposal"])
    if name == "ode":
        name = "ode_tn_k1_h1" if isinstance(objective.model.decoder, Categorical) else "ode_point_exact"
    match = ODE.fullmatch(name)
    assert match is not None
    settings = Settings(
        way=match["way"],  # pyright: ignore[reportArgumentType]
        draws=int(match["draws"] or 1),
        probes=int(match["probes"] or 0),
        law="normals" if match["law"] == "g" else "signs",
        tolerance=tolerance,
    )
    assert importance.recipe(settings) == name
    return Ode(name, settings, fit=settings.way == "variational")
