"""The page that goes with an exported model: what it is, how it was trained, what it reached, and what it is not."""

from collections.abc import Mapping
from typing import Any

from ndm import notation, registry
from ndm.config import Experiment
from ndm.evaluation import again
from ndm.evaluation.package import CONFIG, LICENCE, LIST, PICTURE, RESULTS, About
from ndm.evaluation.score import PARTS
from ndm.likelihood.estimators import ODE

FAMILIES = {
    "transform": "transforms",
    "schedule": "schedules",
    "head": "heads",
    "network": "networks",
    "volatility": "volatilities",
    "objective": "objectives",
}
WAYS = {
    "tn": "truncated noise of the process",
    "uniform": "uniform",
    "variational": "truncated noise, its width fitted to validation images",
    "decoder": "the model's own decoder",
    "point": "none, a density",
}
"""Ways of dequantisation in words, see `ndm.likelihood.dequantise`."""


def model_card(about: About, experiment: Experiment, results: Mapping[str, Any]) -> str:
    """Markdown with the front matter of the Hugging Face Hub; `results` as in a package."""
    sections = [
        _front(about),
        f"# {about.run}",
        _what(about, experiment),
        "## Use",
        _use(about),
        "## Training",
        _training(about, experiment),
        "## Numbers",
        _numbers(about, results),
        "## Samples",
        _samples(about, results),
        "## Limits",
        _limits(about),
        "## Made by",
        _made(about, experiment, results),
    ]
    return "\n\n".join(sections) + "\n"


def body(card: str) -> str:
    """A card without its front matter."""
    return card.split("---\n", 2)[2].lstrip() if card.startswith("---\n") else card


def _front(about: About) -> str:
    image = len(about.data.shape) == 3
    front: dict[str, Any] = {"license": "apache-2.0", "library_name": "ndm"}
    front |= {"pipeline_tag": "unconditional-image-generation"} if image else {}
    tags = ["diffusion", "neural-diffusion-model", "generative-model", "safetensors", about.data.name]
    return f"---\n{notation.write(front | {'tags': tags})}---"


def _what(about: About, experiment: Experiment) -> str:
    data, values = about.data, "continuous values"
    if data.levels:
        values = f"{data.levels} levels, 0 to {data.levels - 1}"
    shape = "×".join(map(str, data.shape))
    parts = [
        f"* {part}, `{kind}`: {_about_kind(family, kind)}"
        for part, family in FAMILIES.items()
        if (kind := getattr(experiment, part).kind)
    ]
    return "\n".join(
        [
            "A Neural Diffusion Model ([arXiv 2310.08337](https://arxiv.org/abs/2310.08337)): a diffusion model with "
            "the forward process",
            "",
            "    q(z_t | x) = N(alpha_t F(x, t), sigma_t^2 I),    F(x, 0) = x,    gamma_t = ln(sigma_t^2 / alpha_t^2)",
            "",
            f"for data {data.name} {data.version} of shape {shape} with {values}. Its parts:",
            "",
            *parts,
        ]
    )


def _about_kind(family: str, kind: str) -> str:
    """The first sentence or line of the variant's own description, which has its equation."""
    text = registry.variant(f"ndm.{family}", kind).__doc__ or ""
    first = text.strip().partition("\n\n")[0].replace("\n", " ")
    return first if len(first) <= 300 else text.partition("\n")[0]


def _use(about: About) -> str:
    shape = ", ".join(map(str, about.data.shape))
    return (
        f'```python\nimport ndm\nmodel = ndm.load("{about.run}")  # this folder\n'
        f"images = model.sample(16, seed=0)  # [16, {shape}]\n```"
    )


def _training(about: About, experiment: Experiment) -> str:
    optimizer, training = experiment.optimizer, experiment.training
    average = f"constant decay {training.ema:g} a step"
    if "ema" in about.average:
        average = f"relative width {about.average['ema']['width']:g}, put together after the training"
    steps = f"T = {experiment.objective.steps} steps" if experiment.objective.kind == "discrete" else "continuous time"
    settings = ", ".join(f"{key} {value}" for key, value in optimizer.model_dump(exclude={"fused"}).items())
    return "\n".join(
        [
            f"* {about.position:,} of {training.examples:,} examples in batches of {training.batch_size}, "
            f"seed {experiment.seed}, precision {training.precision}",
            f"* AdamW: {settings}",
            f"* the bound in {steps}, weight `{experiment.objective.weight}`",
            f"* {about.parameters:,} parameters, all networks and schedules together",
            f"* weights: averages over the training, {average}",
        ]
    )


def _numbers(about: About, results: Mapping[str, Any]) -> str:
    if not results["scores"]:
        return "These weights were not scored when they were exported."
    head = "| estimator | bits/dim | split | images | draws | dequantisation | NFE | tolerance |"
    rows = [head, "|---|---|---|---|---|---|---|---|", *map(_row, results["scores"])]
    parts = [
        f"`{score['estimator']}` on {score['split']}: "
        + ", ".join(f"{part} {score[part]['value']:.4f}" for part in PARTS)
        + "."
        for score in results["scores"]
        if "prior" in score
    ]
    seeds = ", ".join(sorted({str(score["seed"]) for score in results["scores"]}))
    return "\n".join(
        [
            *rows,
            "",
            "± is the standard error over the images, each of which was scored once. A bound is above the negative "
            "log-likelihood of the stochastic model; an ODE likelihood is of the deterministic model with the same "
            "weights; neither bounds the other. NFE is evaluations of the denoising network per latent.",
            "",
            *parts,
            "",
            f"Data: {about.data.name} {about.data.version}, hash `{about.data.hash}`. Noise of seed {seeds}. "
            f"`{RESULTS}` has the rest: the bootstrap's interval, tenths of time, the solver's error.",
        ]
    )


def _row(score: Mapping[str, Any]) -> str:
    bits, ode = score["bits_per_dim"], ODE.fullmatch(score["estimator"])
    cells = [
        f"`{score['estimator']}`",
        f"{bits['value']:.4f} ± {bits['error']:.4f}",
        score["split"],
        f"{score['images']:,}",
        str(score["draws"]),
        WAYS[ode["way"]] if ode else "none, a bound of the stored values",
        f"{score['evaluations']:.1f}" if "evaluations" in score else "",
        f"{score['tolerance']:g}" if "tolerance" in score else "",
    ]
    return f"| {' | '.join(cells)} |"


def _samples(about: About, results: Mapping[str, Any]) -> str:
    samples = results["samples"]
    if samples is None:
        return "None were drawn."
    settings = (f"{key} {value}" for key, value in samples["sampler"].items() if key != "kind" and value is not None)
    sampler = ", ".join([f"`{samples['sampler']['kind']}`", *settings])
    text = (
        f"![samples]({PICTURE})\n\n{samples['shown']} samples, not chosen: the first of seed {samples['seed']}, by the "
        f"sampler {sampler}: {samples['evaluations']} evaluations of the denoising network each."
    )
    if quality := samples["quality"]:
        found = [f"| {name} | {d['value']:.4f} ± {d['error']:.4f} |" for name, d in quality["distances"].items()]
        text += (
            f"\n\nDistances of {samples['count']} of them from {quality['images']} images of the {quality['split']} "
            f"split, ± standard error:\n\n| distance | value |\n|---|---|\n" + "\n".join(found)
        )
    return text


def _limits(about: About) -> str:
    return "\n".join(
        [
            f"* It knows {about.data.name} {about.data.version} and nothing else; values of other data or another "
            "preparation of them mean nothing to it.",
            "* It takes no condition: neither a class nor a text.",
            "* Whether samples repeat examples of the training was not examined.",
            "* A number holds for its estimator, data and preparation; it compares with no number made otherwise.",
            f"* The licence in `{LICENCE}` is that of the code and of these weights; the data have their own.",
        ]
    )


def _made(about: About, experiment: Experiment, results: Mapping[str, Any]) -> str:
    at = "" if about.position >= experiment.training.examples else f"@{about.position}"
    run = about.run + at
    ema = f" evaluation.ema={notation.typed(about.average['ema']['width'])}" if "ema" in about.average else ""
    commands = [again.of_file(experiment, about.run, CONFIG), *again.scoring(run, experiment, results["scores"])]
    commands.append(f"ndm export {run}{ema}")
    code = ", ".join(f"{key} {value}" for key, value in about.code.items())
    block = "\n".join(commands)
    return (
        f"```\n{block}\n```\n\nIn order: the same training anew, its scores, this folder. `{LIST}` has the size and "
        f"the SHA-256 of every file. Exported with: {code}."
    )
