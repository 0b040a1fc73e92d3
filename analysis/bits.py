"""Tables of likelihoods: bits per dimension by estimator, paired differences to a baseline, parts, gaps to the ODE."""

from collections.abc import Mapping

from analysis.groups import Split
from analysis.run import Score
from analysis.significance import Difference, difference, holm, shown, verdict
from analysis.table import Table, plus_minus
from ndm.evaluation.score import PARTS
from ndm.likelihood.statistics import Interval, Mean

BOUND_AND_ODE = (
    "A bound (elbo) and an ODE likelihood are of different models that share their weights: neither bounds the other."
)
CHANCE = "The test knows nothing of what another seed of the training would change."


def ranking(split: Split) -> Table:
    """A row per run, the best first: bits/dim ± s.e. by estimator."""
    rows = [
        [split.called(run), *(_mean(split.scores[run.name].get(label)) for label in split.labels)]
        for run in split.ranked
    ]
    counts = sorted({score.made["images"] for of_run in split.scores.values() for score in of_run.values()})
    notes = [
        f"Bits per dimension ± standard error over the {' or '.join(map(str, counts))} images of the {split.name} "
        f"split, each scored once (hash of the data {split.data.hash[:12]}). Ranked by {split.labels[0]}; less is "
        f"better. {BOUND_AND_ODE}"
    ]
    return Table(f"Bits/dim on the {split}", ["run", *split.labels], rows, notes)


def against(split: Split) -> dict[tuple[str, str], tuple[Difference, float]]:
    """(label, run) -> its difference to the baseline where both were scored alike, and p corrected within the label."""
    base = split.scores[split.baseline.name]
    result: dict[tuple[str, str], tuple[Difference, float]] = {}
    for label in (label for label in split.labels if label in base):
        found = {
            run.name: difference(score.bits, base[label].bits)
            for run in split.ranked
            if run is not split.baseline and (score := split.scores[run.name].get(label))
            if score.identity == base[label].identity
        }
        adjusted = holm([each.p for each in found.values()])
        result |= {(label, run): (each, p) for (run, each), p in zip(found.items(), adjusted, strict=True)}
    return result


def differences(split: Split) -> Table:
    """A row per estimator and run: the paired difference to the baseline, its interval and what a test says of it."""
    found, name = against(split), split.baseline.name
    rows = [
        [label, run, plus_minus(d.mean, signed=True), between(d.interval), shown(d.p), shown(p), verdict(d.mean, p)]
        for (label, run), (d, p) in found.items()
    ]
    notes = [
        f"Bits per dimension of a run less those of {name}, image by image with the same noise; ± is the standard "
        "error of the mean difference. Interval and p are of Student's paired t test over images "
        "(scipy.stats.ttest_rel); the second p is corrected by Holm's method for the number of runs that one estimator "
        f"compares, and decides at 5 %: settle on an estimator before you look. {CHANCE}"
    ]
    columns = ["estimator", "run", "difference ± s.e.", "95 % interval", "p", "p (Holm)", "bits/dim"]
    title = f"Paired differences to {name} on the {split}"
    return Table(title, columns, rows, [*(notes if rows else []), *_odd(split)], keys=2)


def _odd(split: Split) -> list[str]:
    """Sentences on scores that have no partner."""
    base, said = split.scores[split.baseline.name], list[str]()
    if not base:
        return [f"{split.baseline.name} is not scored on the {split}, so there is no difference to it."]
    for run in split.ranked:
        for label, score in split.scores[run.name].items():
            if label not in base or score.identity == base[label].identity:
                continue
            there, here = base[label].made, score.made
            what = " and ".join(f"{key}={here[key]}" for key in ("seed", "images") if here[key] != there[key])
            of = " and ".join(f"{key}={there[key]}" for key in ("seed", "images") if here[key] != there[key])
            said.append(f"{label} of {run.name} was made with {what}, that of the baseline with {of}: not paired.")
    alone = [run.name for run in split.ranked if not split.scores[run.name].keys() & base.keys()]
    if alone:
        said.append(f"No estimator of the baseline was used on {', '.join(alone)}, so there is no difference.")
    return said


def parts(split: Split) -> Table:
    """A row per run: what the bound that its training ended with, or another that all have, consists of."""
    common, rows = split.labels[0], list[list[str]]()
    for run in split.ranked:
        of_run = split.scores[run.name]
        bounds = [score for score in of_run.values() if score.is_bound]
        chosen = next((score for score in bounds if score.label == common), next(iter(bounds), None))
        if chosen:
            cells = (plus_minus(Mean(**chosen.made[part])) for part in PARTS)
            rows.append([split.called(run), chosen.label, *cells, plus_minus(chosen.mean)])
    notes = ["Bits per dimension ± standard error over images; the three parts add up to the bound."]
    return Table(f"Parts of the bound on the {split}", ["run", "bound", *PARTS, "sum"], rows, notes, keys=2)


def gap(of_run: Mapping[str, Score], ode: Score, bound: str | None = None) -> tuple[str, Difference] | None:
    """The label of a bound, and that bound less an ODE likelihood, image by image; None where no bound goes with it.

    Args:
        of_run: scores of one run on a split, by label.
        ode: one of them.
        bound: the label of the bound; by default the first.
    """
    bounds = (score for score in of_run.values() if score.is_bound and bound in (None, score.label))
    found = next(bounds, None)
    if found is None or found.identity[1:] != ode.identity[1:]:
        return None
    return found.label, difference(found.bits, ode.bits)


def gaps(split: Split) -> Table:
    """A row per run and ODE likelihood: the run's first bound less it, image by image."""
    rows = list[list[str]]()
    for run in split.ranked:
        of_run = split.scores[run.name]
        for ode in (score for score in of_run.values() if not score.is_bound):
            made = ode.made
            error = f", {made['solver_error']:.1e}" if "solver_error" in made else ""
            cells = ["", "", ""]
            if found := gap(of_run, ode):
                label, over = found
                cells = [label, plus_minus(over.mean, signed=True), between(over.interval)]
            rows.append([run.name, ode.label, *cells, f"{made['evaluations']:.1f}", f"{made['tolerance']:g}{error}"])
    notes = [
        "Bound less ODE likelihood, image by image: mean ± standard error and Student's 95 % interval. NFE are "
        "evaluations of the network, with its divergence, for a latent; the solver's own error, beside its tolerance, "
        f"is in bits per dimension. {BOUND_AND_ODE}"
    ]
    columns = ["run", "ODE", "bound", "bound - ODE", "95 % interval", "NFE", "tol., error"]
    return Table(f"Gap of the bound to the ODE on the {split}", columns, rows, notes, keys=2)


def between(interval: Interval) -> str:
    """+0.0123 to +0.0456."""
    return f"{interval.low:+.4f} to {interval.high:+.4f}"


def _mean(score: Score | None) -> str:
    return plus_minus(score.mean) if score else ""
