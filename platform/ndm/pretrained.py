"""A trained model in Python, without Ray or MLflow: `ndm.load(...)`, from an exported folder or a run's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ndm import presets
from ndm.config import Experiment
from ndm.data import places
from ndm.data.available import where
from ndm.data.manifest import Manifest
from ndm.errors import UserError
from ndm.evaluation import package, trained
from ndm.evaluation.handed import handed_on
from ndm.evaluation.sample import draw
from ndm.evaluation.score import score, unresolved, values_of
from ndm.likelihood.estimators import PILOT, Pilot, estimator, valid_name
from ndm.likelihood.statistics import Mean, bits_per_dim, mean
from ndm.objectives import Objective
from ndm.processes.ndm import NDM
from ndm.runs import BEST, RunFolder
from ndm.training import checkpoint, numerics

MOST_SEED = 2**63


class Likelihood(NamedTuple):
    """-ln p of images, or a bound of it, by one estimator."""

    estimator: str
    """Its full name, which is the recipe."""
    nats: Tensor
    """Per image, [N] float64."""
    bits_per_dim: Tensor
    """Per image, [N] float64."""
    mean: Mean
    """Of bits_per_dim: (value, error), the standard error over the images."""


@final
class Pretrained:
    """A trained model, its averaged weights fixed; made by `load`."""

    def __init__(self, objective: Objective, experiment: Experiment, about: package.About, card: str) -> None:
        self.objective = objective
        """The bound with its model: a torch module in evaluation mode, whose parameters need no gradient."""
        self.experiment = experiment
        """What it was trained by."""
        self.about = about
        """Its run, the examples that it has seen, its data."""
        self.card = card
        """Markdown: what it is, how it was trained, its numbers and its limits."""

    def __repr__(self) -> str:
        return f"<ndm.Pretrained {self.about.run}: {self.about.parameters:,} parameters, shape {self.shape}>"

    @property
    def process(self) -> NDM:
        """The forward process."""
        return self.objective.model.process

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.about.data.shape

    @property
    def levels(self) -> int:
        """Values a stored number can take, 0 .. levels - 1; 0 for continuous data."""
        return self.about.data.levels

    def sample(
        self, count: int, *, seed: int = 0, sampler: str | Mapping[str, Any] | None = None, batch: int | None = None
    ) -> Tensor:
        """The samples 0 .. count - 1 of a seed: [count, *shape] on the CPU, uint8 levels, or float32 if continuous.

        Sample i depends on the seed and i alone, to rounding; `ndm sample` draws the same at the experiment's seed.

        Args:
            count: how many.
            seed: 0 or more.
            sampler: a kind such as "heun", or keys such as {"kind": "heun", "steps": 20}; by default the experiment's.
            batch: samples that are drawn together, by default `evaluation.batch`.

        Raises:
            UserError: a number is out of range, there is no such sampler, or it is not for this model.
        """
        _whole("count", count, 1)
        _whole("seed", seed, 0, MOST_SEED)
        given = {} if sampler is None else {"kind": sampler} if isinstance(sampler, str) else dict(sampler)
        asked = presets.lay(self.experiment.model_dump(mode="json"), [(f"sampler.{k}", v) for k, v in given.items()])
        with numerics.exact():
            raw, _ = draw(
                asked.sampler.build(self.objective.steps),
                self.objective.model,
                count,
                seed=seed,
                batch=_given(batch, asked.evaluation.batch),
            )
        return raw

    def likelihood(
        self,
        images: ArrayLike | Tensor,
        estimator: str = "elbo",
        *,
        seed: int | None = None,
        first_id: int = 0,
        tolerance: float | None = None,
        pilot: ArrayLike | Tensor | None = None,
        batch: int | None = None,
    ) -> Likelihood:
        """The likelihood of each image, as `ndm evaluate` scores it: of a split in its order, the same numbers.

        Args:
            images: stored values [N, *shape], integers 0 .. levels - 1, or floats if continuous.
            estimator: its name, see docs/likelihood.md.
            seed: of the noise, by default `evaluation.seed`.
            first_id: the number of the first image: the noise of an image is a function of the seed and its number.
            tolerance: of the solver of the ODE, by default `evaluation.tolerance`.
            pilot: images that an estimator is fitted to whose name ends in _logistic or _adaptive, or that is
                ode_variational; `ndm evaluate` takes the first 64 of the validation split.
            batch: images that are scored together, by default as many as `ndm evaluate` takes.

        Raises:
            UserError: the images are not of the model's kind, there is no such estimator, it is not for this model or
                not fitted, or its solver is not good enough.
        """
        settings = self.experiment.evaluation
        seed, block = settings.seed if seed is None else seed, min(settings.block, settings.batch)
        _whole("seed", seed, 0, MOST_SEED)
        _whole("first_id", first_id, 0, MOST_SEED)
        tolerance = settings.tolerance if tolerance is None else tolerance
        if not 0 < tolerance < 1:
            raise UserError(f"tolerance={tolerance} is not valid: it must be above 0 and below 1.")
        raw = self._stored(images, "images")
        asked = self._estimator(estimator, tolerance)
        with numerics.exact():
            if asked.needs_fitting:
                if pilot is None:
                    raise UserError(f"{asked.name} is fitted to images before it scores: give pilot=validation images.")
                x = self.objective.model.decoder.encode(self._stored(pilot, "pilot")[:PILOT])
                asked = asked.fitted(self.objective, Pilot(x, seed))
            table = score(self.objective, raw, first_id, asked, seed=seed, batch=_given(batch, block))
        if why := unresolved(table, len(raw), tolerance):
            raise UserError(f"{asked.name} is not reported: {why}.")
        nats = values_of(table, "nats")
        bits = bits_per_dim(nats, raw[0].numel())
        return Likelihood(asked.name, nats, bits, mean(bits))

    def _estimator(self, name: str, tolerance: float) -> Any:
        try:
            valid_name(name)
        except ValueError as error:
            raise UserError(f"estimator={name!r:.80} is not valid: it must be {error}.") from None
        return estimator(name, self.objective, draws=self.experiment.evaluation.draws, tolerance=tolerance)

    def _stored(self, images: ArrayLike | Tensor, what: str) -> Tensor:
        """Stored values on the model's device."""
        raw = images if isinstance(images, Tensor) else _tensor(images, what)
        if raw.ndim == 0 or tuple(raw.shape[1:]) != self.shape or not len(raw):
            raise UserError(f"{what} have the shape {list(raw.shape)}; give [N, {', '.join(map(str, self.shape))}].")
        if self.levels == 0:
            if not raw.is_floating_point() or not raw.isfinite().all():
                raise UserError(f"{what} are not finite floating-point numbers, which this model's data are.")
            raw = raw.to(torch.float32)
        else:
            whole = not raw.is_floating_point() and not raw.is_complex() and raw.dtype != torch.bool
            if not whole or raw.min() < 0 or raw.max() >= self.levels:
                raise UserError(f"{what} are not whole numbers from 0 to {self.levels - 1}, which are stored values.")
            raw = raw.to(torch.uint8)
        return raw.to(next(self.objective.parameters()).device)


def load(path: str | Path, *, device: str | torch.device | None = None) -> Pretrained:
    """The model in a folder that `ndm export` wrote, or in a run's own folder, on a device, by default a GPU if any.

    Of a run it is the newest checkpoint; RUN@best and RUN@12800 name others. A run's data have to be prepared beside
    it, as only their manifest says what they are; its checkpoints have to be on a disk.

    Raises:
        UserError: there is no such folder, or it is damaged or made up.
    """
    folder, _, at = str(path).partition("@") if not Path(path).is_dir() else (path, "", "")
    folder = Path(folder)
    if RunFolder(folder).exists:
        objective, experiment, about, card = _of_run(folder, at)
    elif (folder / package.LIST).is_file() and not at:
        found = package.read(folder)
        objective, experiment, about, card = package.restore(found, folder), found.experiment, found.about, found.card
    else:
        raise UserError(f"There is no exported model and no run in {path}; export one with: ndm export RUN")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Pretrained(objective.to(device), experiment, about, card)


def _of_run(path: Path, at: str) -> tuple[Objective, Experiment, package.About, str]:
    folder = RunFolder(path.absolute())
    experiment, root = folder.experiment(), folder.path.parent
    home = folder.checkpoints
    if (kept := experiment.storage.checkpoints) is not None and not home.is_dir():
        place = places.at(kept) / folder.name
        if place.system:
            raise UserError(f"The checkpoints of {folder.name} are kept in {place}; use: ndm export {folder.name}")
        home = Path(place.path)
    storage = experiment.storage
    manifest = Manifest.read(where(experiment.data, storage.data_sets, root, storage.cache_bytes))
    name = checkpoint.best(home) if at == BEST else at.zfill(12) if at.isdecimal() else None
    if at and name is None:
        raise UserError(f"{folder.name} has no checkpoint {at}: say @best, or how many examples it has seen, @12800.")
    made = trained.load(home, experiment, manifest, name)
    about, card, _ = handed_on(folder, experiment, manifest, made)
    return made.objective, experiment, about, card


def _tensor(values: ArrayLike, what: str) -> Tensor:
    try:
        array = np.array(values)
        wide = array.dtype.kind == "u" and array.itemsize > 1  # of which torch compares none
        return torch.from_numpy(array.astype(np.int64) if wide else array)
    except (TypeError, ValueError):
        raise UserError(f"{what} are no array of numbers; give stored values.") from None


def _given(batch: int | None, default: int) -> int:
    if batch is not None:
        _whole("batch", batch, 1)
    return batch or default


def _whole(name: str, value: int, least: int, below: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (below and value >= below):
        raise UserError(f"{name}={value!r:.80} is not valid: it must be a whole number of at least {least}.")
