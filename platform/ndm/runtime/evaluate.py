"""Scores a trained run by any list of estimators, and records what they say."""

import shutil
from pathlib import Path
from typing import Any

import torch

from ndm.build import build_objective
from ndm.errors import UserError
from ndm.evaluation import trained
from ndm.evaluation.averages import suffix
from ndm.evaluation.score import PARTS, read, summary, values_of, write
from ndm.likelihood.estimators import Estimator, estimator
from ndm.likelihood.statistics import bits_per_dim, paired
from ndm.objectives import Objective
from ndm.runtime.score import blocks_of, fitted, score_split
from ndm.runtime.workspace import Workspace
from ndm.tracking.spool import Spool

Scores = dict[str, Any]


def estimators(workspace: Workspace, objective: Objective) -> list[Estimator]:
    """The estimators that are asked for, not yet fitted.

    Raises:
        UserError: there is no such split, or the model cannot be scored so.
    """
    settings, manifest = workspace.experiment.evaluation, workspace.manifest
    if settings.split not in manifest.splits:
        raise UserError(
            f"The data set {manifest.name} has no split {settings.split}; give evaluation.split="
            f"{' or '.join(manifest.splits)}."
        )
    asked = [
        estimator(name, objective, draws=settings.draws, tolerance=settings.tolerance) for name in settings.estimators
    ]
    return list({each.name: each for each in asked}.values())


def check(workspace: Workspace) -> None:
    """Refuse what `evaluate` would refuse, before anything is computed; errors as for `estimators`."""
    manifest = workspace.manifest
    estimators(workspace, build_objective(workspace.experiment, manifest.shape, manifest.levels))


def evaluate(workspace: Workspace, spool: Spool) -> Scores:
    """Every image of the split, exactly once, by each estimator: {"scores": [...], "gaps": [...]}. Needs a running Ray.

    A number whose solver is not good enough is not recorded; the others are.

    Raises:
        UserError: the model cannot be scored so, or some estimator's solver was not good enough.
    """
    objective, position, averaging = trained.load(
        workspace.home, workspace.experiment, workspace.manifest, workspace.checkpoint
    )
    scores, refused = list[Scores](), list[str]()
    for asked in estimators(workspace, objective):
        try:
            scores.append(_score(workspace, spool, asked, position, averaging))
        except UserError as error:
            refused.append(str(error))
    if refused:
        raise UserError(" ".join(refused))
    return {"scores": scores, "gaps": _gaps(workspace, spool, scores)}


def _score(workspace: Workspace, spool: Spool, asked: Estimator, position: int, averaging: dict[str, Any]) -> Scores:
    """One estimator's table, from disk if it was made before, with its summary."""
    settings, manifest = workspace.experiment.evaluation, workspace.manifest
    made = {
        "estimator": asked.name,
        **asked.about(),
        "draws": asked.draws_per_image,
        "split": settings.split,
        "seed": settings.seed,
        "images": manifest.rows(settings.split),
        "dimensions": manifest.dimensions,
        "experiment": workspace.experiment.digest(),
        "examples_seen": position,
        "data": {"name": manifest.name, "version": manifest.version, "hash": manifest.hash},
        **averaging,
    }
    at = suffix(settings.ema)
    at += f"-at-{position}" if workspace.checkpoint else ""
    path = workspace.folder.likelihood / f"{settings.split}-{asked.name}{at}.parquet"
    # What is fitted is a function of the rest, so a table of the same recipe has it.
    if path.is_file() and (known := read(path)) and known[1] == known[1] | made:
        table, made = known
        seconds = made["seconds_per_image"]
    else:
        used = fitted(workspace, asked)
        made |= used.about()
        progress = workspace.terminal.count(f"scoring {settings.split} images by {used.name}")
        table, seconds = score_split(workspace, used, made, progress)
        write(table, path, made | {"seconds_per_image": seconds})
        shutil.rmtree(blocks_of(workspace.folder, made), ignore_errors=True)
    found = summary(table, manifest.dimensions, settings.seed)
    prefix = f"{settings.split}/bpd_{asked.name}{at.replace('-', '_')}"
    values = {prefix: found["bits_per_dim"]["value"], f"{prefix}_se": found["bits_per_dim"]["error"]}
    values |= {f"{prefix}_{part}": found[part]["value"] for part in PARTS if part in found}
    if "evaluations" in found:
        values |= {f"{prefix}_nfe": found["evaluations"], f"{prefix}_tolerance": made["tolerance"]}
        values |= {f"{prefix}_solver_error": found["solver_error"]} if "solver_error" in found else {}
    spool.results(values)
    spool.artifact(path, "likelihood")
    return {**made, **found, "seconds_per_image": seconds, "table": str(path.relative_to(workspace.root.parent))}


def _gaps(workspace: Workspace, spool: Spool, scores: list[Scores]) -> list[dict[str, Any]]:
    """The first bound less each ODE likelihood, image by image, in bits per dimension."""

    def bits(of: Scores) -> torch.Tensor:
        return bits_per_dim(values_of(read(workspace.root.parent / Path(of["table"]))[0], "nats"), of["dimensions"])

    bound = next((of for of in scores if "prior" in of), None)
    if bound is None:
        return []
    gaps: list[dict[str, Any]] = []
    for ode in (of for of in scores if "evaluations" in of):
        gap = paired(bits(bound), bits(ode))
        gaps.append({"bound": bound["estimator"], "ode": ode["estimator"], **gap._asdict()})
        key = f"{ode['split']}/bpd_gap_{bound['estimator']}_over_{ode['estimator']}"
        key += suffix(workspace.experiment.evaluation.ema).replace("-", "_")
        spool.results({key: gap.value, f"{key}_se": gap.error})
    return gaps
