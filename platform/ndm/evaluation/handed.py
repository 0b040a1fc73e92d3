"""What is handed on with the weights of a run: what they are, what they reached, and the page that says it."""

from pathlib import Path
from typing import Any

from ndm.config import Experiment
from ndm.data.manifest import Manifest
from ndm.evaluation.model_card import model_card
from ndm.evaluation.package import About, Data
from ndm.evaluation.scores import scores
from ndm.evaluation.trained import Trained
from ndm.runs import RunFolder
from ndm.tracking.provenance import code, versions

REPOSITORY = Path(__file__).resolve().parents[3]
VERSIONS = ("version.ndm", "version.python", "version.torch")


def handed_on(
    folder: RunFolder,
    experiment: Experiment,
    manifest: Manifest,
    trained: Trained,
    samples: dict[str, Any] | None = None,
) -> tuple[About, str, dict[str, Any]]:
    """Of trained weights of the run: what they are, the card, and the results that go into it.

    Raises:
        UserError: a table of the run is damaged.
    """
    data = Data(
        name=manifest.name,
        version=manifest.version,
        hash=manifest.hash,
        shape=manifest.shape,
        levels=manifest.levels,
    )
    known = versions()
    about = About(
        run=folder.name,
        experiment=experiment.digest(),
        position=trained.position,
        average=trained.made,
        parameters=sum(parameter.numel() for parameter in trained.objective.parameters()),
        data=data,
        code=code(REPOSITORY) | {key: known[key] for key in VERSIONS},
    )
    identity = {"name": manifest.name, "version": manifest.version, "hash": manifest.hash}
    wanted = {"experiment": about.experiment, "examples_seen": about.position, "data": identity, **trained.made}
    results = {"run": about.run, "examples_seen": about.position, "scores": scores(folder.likelihood, wanted)}
    results["samples"] = samples
    return about, model_card(about, experiment, results), results
