"""The weights of a run averaged with a relative width that is chosen now, from the averages that the run kept."""

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import Tensor

from ndm.errors import UserError
from ndm.training import checkpoint
from ndm.training.checkpoint import Checkpoint, Home
from ndm.training.posthoc import Profile, combine, fit
from ndm.training.profiles import exponent, width_of

log = logging.getLogger("ndm.evaluation")

WORST = 0.1
"""Most that a profile may be missed by, as a part of its norm; the paper's reconstructions are far below."""


class Averaged(NamedTuple):
    """Averaged parameters by name, float64, and how they were made, for the record of a number."""

    parameters: dict[str, Tensor]
    about: dict[str, Any]


def suffix(width: float | None) -> str:
    """What a name has at its end where weights of a width were used: "-ema0.080"; nothing for the constant decay."""
    return "" if width is None else f"-ema{width:.3f}"


def averaged(home: Home, found: Checkpoint, width: float) -> Averaged:
    """The average of relative width `width` over the training up to the checkpoint `found`.

    Used are the averages in the checkpoint itself and in all good snapshots up to it.

    Raises:
        UserError: the run tracks no such averages, or they do not make this width.
    """
    newest = _averages(found.tensors)
    if not newest:
        raise UserError(
            f"There are no averages in {home} that evaluation.ema={width} could be made of; train one with "
            "monitor.ema_widths=[0.05,0.1] and monitor.snapshot_every."
        )
    kept = [*_snapshots(home, found), *((home, found.name, part) for part in newest)]
    profiles = [Profile(int(name), exponent(width_of(part) or 0.0)) for _, name, part in kept]
    best = fit(profiles, Profile(found.position, exponent(width)))
    if best.error > WORST:
        raise UserError(
            f"evaluation.ema={width} cannot be made of the {len(kept)} averages that were kept in {home} up to "
            f"{found.position} examples, which miss its profile by {best.error:.0%}; choose a width nearer to "
            f"{', '.join(sorted(name.removeprefix('ema_') for name in newest))}, or train with a smaller "
            "monitor.snapshot_every."
        )
    # One at a time in memory, so all of them are read once more.
    values = (checkpoint.read(there, name, {part}).tensors[part] for there, name, part in kept)
    parameters = combine(values, best.coefficients)
    return Averaged(parameters, {"width": width, "averages": len(kept), "error": round(best.error, 6)})


def _snapshots(home: Home, found: Checkpoint) -> list[tuple[Home, str, str]]:
    """(where, name, part) of the averages in good snapshots before a checkpoint, oldest first.

    A broken one is passed over with a warning.
    """
    there, good = checkpoint.snapshots(home), list[tuple[Home, str, str]]()
    for name in reversed(checkpoint.candidates(there)):
        if int(name) < found.position:
            try:
                good += [(there, name, part) for part in _averages(checkpoint.verify(there, name).parts)]
            except checkpoint.Broken as error:
                log.warning("The snapshot %s in %s is passed over: %s.", name, there, error)
    return good


def _averages(names: Iterable[str]) -> list[str]:
    """The parts that are averages of a width."""
    return [name for name in names if width_of(name) is not None]
