"""How far a run's samples are from its data: what can be measured, and the record of it."""

from typing import Any

import torch

from ndm.config import Experiment
from ndm.data.manifest import Manifest
from ndm.data.shards import gather
from ndm.errors import UserError
from ndm.evaluation.averages import suffix
from ndm.quality import FEWEST
from ndm.quality.extractors import extractor
from ndm.quality.features import Extractor
from ndm.quality.inception import Inception
from ndm.quality.report import distances, quality
from ndm.quality.subsets import shuffled
from ndm.runtime.draw import Drawn
from ndm.runtime.workspace import Workspace
from ndm.tracking.spool import Spool

COUNTS = ("samples", "reference")


def asked(experiment: Experiment, manifest: Manifest) -> Extractor | None:
    """The extractor that `samples.extractor` names, if it names one; to be called before anything is computed.

    Raises:
        UserError: it cannot be had for these data or on this machine, or the reference is too small for it.
    """
    settings = experiment.samples
    if not settings.quality or settings.extractor is None:
        return None
    if (images := manifest.rows(settings.reference)) < FEWEST:
        raise UserError(
            f"samples.extractor={settings.extractor} compares with at least {FEWEST} images, but the "
            f"{settings.reference} split has {images}; choose another samples.reference."
        )
    # Its weights are the same whatever the run's seeds, so that runs can be compared.
    return extractor(settings.extractor, manifest.shape, manifest.levels, weights=settings.weights)


def compare(workspace: Workspace, spool: Spool, drawn: Drawn, features: Extractor | None) -> dict[str, Any] | None:
    """Distances of the samples from the reference, with standard errors; also recorded as metrics of the run.

    A metric's name tells the sampler, its network evaluations, the counts and, by its ending, the features. None where
    nothing was to be measured or could be; the latter is said.
    """
    experiment, manifest, settings = workspace.experiment, workspace.manifest, workspace.experiment.samples
    rows, seed = manifest.rows(settings.reference), experiment.evaluation.seed
    if not settings.quality or min(len(drawn.raw), rows) < FEWEST:
        return None
    index = shuffled(rows, seed, "reference")[: settings.reference_images].sort().values
    reference = torch.from_numpy(gather(workspace.data, manifest, settings.reference, index.numpy()).raw)
    how: dict[str, Any] = {
        "seed": seed,
        "batch": experiment.evaluation.batch,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
    }
    try:
        if features is None:
            found = distances(drawn.raw, reference, levels=manifest.levels, **how)
        else:
            found = quality(drawn.raw, reference, extractor=features, **how)
    except UserError as mistake:  # samples of a model that diverged, or data that are all the same
        workspace.terminal.warn(str(mistake))
        return None
    found = {name: mean for name, mean in found.items() if name not in COUNTS}
    prefix = f"samples/{_label(experiment, drawn)}_{settings.reference}{len(reference)}"
    spool.results(
        {f"{prefix}/{name}": mean.value for name, mean in found.items()}
        | {f"{prefix}/{name}_se": mean.error for name, mean in found.items()},
    )
    made = {
        "split": settings.reference,
        "images": len(reference),
        "seed": seed,
        "metrics": prefix,
        "extractor": settings.extractor,
    }
    if isinstance(features, Inception):
        made["weights"] = features.digest
        spool.tags({"inception_weights": features.digest})
    return {**made, "distances": {name: mean._asdict() for name, mean in found.items()}}


def _label(experiment: Experiment, drawn: Drawn) -> str:
    """heun_nfe40_n1000: the sampler, what of its settings is not the default, its evaluations, and the samples.

    At the end, as _ema0.080, the average of the weights where it is not the usual one.
    """
    sampler = experiment.sampler
    special = sampler.model_dump(exclude={"kind", "steps", "times"}, exclude_defaults=True)
    parts = [sampler.kind, *(f"{key}{value}" for key, value in special.items())]
    label = "_".join([*parts, f"nfe{drawn.evaluations}", f"n{len(drawn.raw)}"]).replace("+", "")
    return label + suffix(experiment.evaluation.ema).replace("-", "_")
