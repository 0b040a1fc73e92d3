"""What a variant costs, counted (never timed) where its family has something to count."""

from functools import cache

import torch

from ndm import presets, registry
from ndm.build import build_objective
from ndm.evaluation.cost import Cost, cost_of

EXAMPLE = "digits-ndm"
SMALL = "digits-tiny"
MORE = {"drift": ("sampler.kind=sde",), "discrete": ("objective.steps=10",)}
"""What kinds need beside themselves."""
PLAIN = {"transform": "identity", "schedule": "linear", "head": "v", "objective": "continuous"}
"""The kind that others of a family are put beside."""
STEPS, LATENTS, LEVELS = 12, 2, 17


def of(family: str, kind: str) -> str | None:
    """A sentence or two; None where the family has nothing that is counted."""
    if family == "sampler":
        return _evaluations(kind)
    if family == "network":
        cost = _cost(family, kind)
        said = f"{cost.denoiser_parameters:,} parameters and {cost.forward_flops:,} FLOPs for one image, once."
    elif family in PLAIN:
        cost, plain = _cost(family, kind), _cost(family, PLAIN[family])
        said = f"A step of training takes {cost.step_flops / plain.step_flops:.2f} of the FLOPs with `{PLAIN[family]}`."
        parameters = {"transform": cost.transform_parameters, "schedule": cost.schedule_parameters}
        said = f"{parameters[family]:,} parameters. {said}" if family in parameters else said
    else:
        return None
    return f"{said} Counted on `ndm train {EXAMPLE} {' '.join(_overrides(family, kind))} --dry-run`."


def _overrides(family: str, kind: str) -> tuple[str, ...]:
    return (f"{family}.kind={kind}", *MORE.get(kind, ()))


@cache
def _cost(family: str, kind: str) -> Cost:
    return cost_of(presets.load(EXAMPLE, _overrides(family, kind)))


def _evaluations(kind: str) -> str:
    """Counted while the sampler draws from an untrained model."""
    config = registry.variant("ndm.sampling", kind).Config()
    if "steps" not in type(config).model_fields:
        return "The solver chooses how often it evaluates the denoiser."
    experiment = presets.load(SMALL)
    model = build_objective(experiment, experiment.data.shape, LEVELS).model.eval()
    with torch.no_grad():
        _, evaluations = config.build(STEPS).sample(model, 0, LATENTS, 0)
    each = evaluations / STEPS
    return f"{each:g} evaluation{'s' if each != 1 else ''} of the denoiser a step."
