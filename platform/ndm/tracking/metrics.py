"""Every metric that a run records: its name, its unit and what it says. docs/metrics.md shows this table."""

import re
from typing import NamedTuple

BOUND = r"elbo_(?:cont_k\d+(?:_(?:logistic|adaptive))?|T\d+(?:_k\d+)?)"
ODE = r"ode_[a-z]+(?:_k\d+)?_(?:[hg]\d+|exact)"
PARTS = {
    "SPLIT": "(?:train|validation|test)",
    "WEIGHTS": r"(?:_ema[\d.]+)?(?:_at_\d+)?",
    "ESTIMATOR": f"(?:{BOUND}|{ODE})",
    "BOUND": BOUND,
    "ODE": ODE,
    "LAP": "(?:data|forward|communication|backward|optimizer|average|validation|checkpoint)",
    "DRAWN": r"\w[\w.-]*_nfe\d+_n\d+(?:_ema[\d.]+)?_(?:train|validation|test)\d+",
    "FEATURES": "(?:random|inception)",
    "TERM": "(?:prior|reconstruction|diffusion)",
}
"""What the words in capitals stand for in a name."""


class Metric(NamedTuple):
    """A metric, or those whose names differ in the words in capitals."""

    name: str
    unit: str
    meaning: str

    def fits(self, key: str) -> bool:
        """Whether it is the metric of that name; the standard error of one is recorded beside it as NAME_se."""
        words = re.split(f"({'|'.join(PARTS)})", self.name)
        pattern = "".join(PARTS.get(word, re.escape(word)) for word in words)
        return re.fullmatch(f"{pattern}(?:_se)?" if self.unit != COUNTED else pattern, key) is not None


COUNTED = "count"
BITS = "bits/dim"
METRICS = (
    Metric("test/bpd_ESTIMATORWEIGHTS", BITS, "the likelihood of a split by an estimator: mean over all its images"),
    Metric("SPLIT/bpd_ESTIMATORWEIGHTS", BITS, "the same of another split"),
    Metric("SPLIT/bpd_ESTIMATORWEIGHTS_TERM", BITS, "a term of the bound; the three are its sum"),
    Metric("SPLIT/bpd_ESTIMATORWEIGHTS_nfe", COUNTED, "evaluations of the network per latent, mean over images"),
    Metric("SPLIT/bpd_ESTIMATORWEIGHTS_tolerance", "1", "of the ODE's solver"),
    Metric("SPLIT/bpd_ESTIMATORWEIGHTS_solver_error", BITS, "of the ODE's solver, as it estimates it"),
    Metric("SPLIT/bpd_gap_BOUND_over_ODEWEIGHTS", BITS, "a bound less an ODE likelihood, image by image"),
    Metric("samples/DRAWN/sliced_wasserstein_pixels", "pixels", "distance of samples from data; smaller is better"),
    Metric("samples/DRAWN/sliced_wasserstein_floor_pixels", "pixels", "what two samples of one law would give"),
    Metric("samples/DRAWN/mmd_squared_pixels", "1", "squared maximum mean discrepancy, unbiased: 0 for equal laws"),
    Metric("samples/DRAWN/fid_FEATURES", "1", "Fréchet distance in features; smaller is better"),
    Metric("samples/DRAWN/kid_FEATURES", "1", "kernel distance in features, unbiased: 0 for equal laws"),
    Metric("samples/DRAWN/precision_FEATURES", "share", "of samples that are near data"),
    Metric("samples/DRAWN/recall_FEATURES", "share", "of data that samples are near to"),
    Metric(
        "train/bits_per_dim", BITS, "the bound on the examples since the last record, with the weights as they were"
    ),
    Metric("train/TERM", BITS, "a term of it"),
    Metric("validation/bits_per_dim", BITS, "the bound on the validation split, with averaged weights"),
    Metric("validation/TERM", BITS, "a term of it"),
    Metric("train/gradient_norm", "1", "mean norm of the gradient before it is clipped"),
    Metric("train/learning_rate", "1", "of the last step"),
    Metric("train/examples_checksum", COUNTED, "equal for equal examples in equal order"),
    Metric("train/examples_per_second", "1/s", "of all workers together"),
    Metric("train/teraflops_per_second", "10¹²/s", "counted FLOPs of training, of all workers together"),
    Metric("train/flops_utilisation", "share", "of the peak that the GPUs' maker states"),
    Metric("train/gpu_memory_gb", "GB", "the most that the first worker's GPU has held"),
    Metric("time/step_ms", "ms", "a training step, everything included"),
    Metric("time/LAP_ms", "ms", "what a step spends on it, means over the steps since the last record"),
    Metric("search/bits_per_dim", BITS, "the bound on the search's validation images, at each rung of a trial"),
    Metric("search/compute_share", "share", "of what a trial may spend, spent by then"),
    Metric("search/flops_ratio", "1", "FLOPs of a trial's step in those of the baseline's"),
    Metric("search/best_bits_per_dim", BITS, "of the best point of the search"),
    Metric("search/baseline_bits_per_dim", BITS, "of its baseline"),
    Metric("search/share_of_compute", "share", "spent, of what all points to their ends would take"),
)
HOW = (
    "The x axis of curves is examples seen; what is known at the end alone has step 0. NAME_se beside a metric is its "
    "standard error: over images, or of the estimate."
)
WORDS = (
    "SPLIT is train, validation or test; ESTIMATOR a recipe of a likelihood, as elbo_cont_k64; WEIGHTS nothing for the "
    "newest averaged weights, else _ema0.080 or _at_12800; DRAWN the sampler, its network evaluations, the samples and "
    "the images compared with, as heun_nfe40_n1000_train1437; FEATURES random or inception; LAP a part of a step; TERM "
    "prior, reconstruction or diffusion."
)


def find(key: str) -> Metric | None:
    """The metric of that name; None if it is not one that is known here."""
    return next((metric for metric in METRICS if metric.fits(key)), None)


def table() -> str:
    """All of them in Markdown."""
    rows = [f"| `{metric.name}` | {metric.unit} | {metric.meaning} |" for metric in METRICS]
    return "\n".join(["| metric | unit | what it says |", "|---|---|---|", *rows])


def description() -> str:
    """What an experiment of MLflow says of itself: where its answers are."""
    return (
        "Which run is better, by how much, and what do its samples look like? Unfold this.\n\n"
        '**Which is better, and by how much?** Sort the runs by `metrics."test/bpd_elbo_cont_k64"` (bits/dim, less is '
        "better) beside its standard error, `…_se`; compare only runs of one `tags.data_hash`. A run's description has "
        "its number with its recipe; `tables/` and `report.html` among its artifacts have paired differences, once "
        "`ndm report RUN OTHER` was called.\n\n"
        "**What do its samples look like?** Tab *Model metrics* of a run, `samples/ema`: its slider goes over the "
        "examples seen. Among its artifacts, `samples/`.\n\n"
        f"{HOW}\n\n{table()}\n\n{WORDS}"
    )
