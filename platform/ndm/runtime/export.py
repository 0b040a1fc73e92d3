"""The verb `export`: the averaged weights of a run in a folder of their own, with all that it takes to use them."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ndm import notation, tracking
from ndm.evaluation import figures, trained
from ndm.evaluation.averages import suffix
from ndm.evaluation.handed import REPOSITORY, handed_on
from ndm.evaluation.model_card import body
from ndm.evaluation.package import CARD, CONFIG, LICENCE, PICTURE, RESULTS, WEIGHTS
from ndm.evaluation.publish import portable, publish, weights
from ndm.runtime.draw import draw_samples
from ndm.runtime.workspace import Workspace


def export(workspace: Workspace, to: str | None, register: str | None) -> list[tuple[str, str]]:
    """Write the folder, put it into MLflow's registry if a name is given, and say where both are. Needs a running Ray.

    Its samples are drawn anew, `samples.count` of them: a picture that the run has may be of another checkpoint.

    Raises:
        UserError: there is no checkpoint, the folder holds something else or cannot be written, the name is none of a
            model, or the tracking server does not take it.
    """
    folder, experiment = workspace.folder, workspace.experiment
    made = trained.load(workspace.home, experiment, workspace.manifest, workspace.checkpoint)
    drawn = draw_samples(workspace, workspace.terminal.count("drawing samples"))
    samples = {
        "sampler": experiment.sampler.model_dump(mode="json"),
        "count": len(drawn.raw),
        "shown": figures.shown(workspace.manifest.shape, len(drawn.raw)),
        "seed": experiment.seed,
        "evaluations": drawn.evaluations,
    }
    samples["quality"] = _quality(workspace, samples, made)
    about, card, results = handed_on(folder, experiment, workspace.manifest, made, samples)
    with TemporaryDirectory() as temporary:
        picture = Path(temporary) / PICTURE
        figures.samples(drawn.raw, workspace.manifest.levels, picture)
        files = {
            CARD: card.encode(),
            CONFIG: notation.write(portable(experiment)).encode(),
            LICENCE: (REPOSITORY / LICENCE).read_bytes(),
            PICTURE: picture.read_bytes(),
            RESULTS: json.dumps(results, indent=1, sort_keys=True).encode(),
            WEIGHTS: weights(made.objective),
        }
    target = Path(to).absolute() if to else workspace.root.parent / "exports" / _name(workspace)
    listing = publish(target, about, files)
    rows = [
        ("model", f"{about.run} at {about.position} examples, {about.parameters} parameters"),
        ("folder", os.path.relpath(target)),
        ("size", f"{listing.bytes / 1e6:,.2f} MB in {len(listing.files)} files"),
        ("scores", ", ".join(f"{score['estimator']} on {score['split']}" for score in results["scores"]) or "none"),
        ("load it", f'import ndm; model = ndm.load("{os.path.relpath(target)}")'),
    ]
    if register is not None:
        version = tracking.register(
            workspace.tracking_uri(),
            folder.read("tracking")["run_id"],
            target,
            name=register,
            sha256=listing.sha256,
            description=body(card),
            tags={"run": about.run, "examples_seen": str(about.position), **_numbers(results)},
        )
        rows.append(("registered", f"{register}, version {version}"))
    return rows


def check(workspace: Workspace, register: str | None) -> None:
    """Refuse what `export` would refuse of the run and the name, before anything is started; errors as there."""
    if register is not None:
        tracking.check_name(register)
    trained.load(workspace.home, workspace.experiment, workspace.manifest, workspace.checkpoint)


def _name(workspace: Workspace) -> str:
    """The run's, with what tells a checkpoint and an average of the weights that were asked for."""
    at = f"-at-{int(workspace.checkpoint)}" if workspace.checkpoint else ""
    return f"{workspace.folder.name}{suffix(workspace.experiment.evaluation.ema)}{at}"


def _quality(workspace: Workspace, samples: dict[str, Any], made: trained.Trained) -> dict[str, Any] | None:
    """The distances that the run has of these samples."""
    known = workspace.folder.read("results").get("samples", {})
    same = {key: samples[key] for key in ("sampler", "count", "evaluations")}
    same |= {"examples_seen": made.position, **made.made}
    alike = all(known.get(key) == value for key, value in ({"ema": None} | same).items())
    return known["quality"] if alike else None


def _numbers(results: dict[str, Any]) -> dict[str, str]:
    """Names as in the run's metrics: "test/bpd_elbo_cont_k64"."""
    found: dict[str, str] = {}
    for score in results["scores"]:
        key, bits = f"{score['split']}/bpd_{score['estimator']}", score["bits_per_dim"]
        found |= {key: f"{bits['value']:.6f}", f"{key}_se": f"{bits['error']:.6f}"}
    return found
