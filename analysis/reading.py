"""What the numbers of one data set say, in sentences: each claim is what a test made of them."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import permutations

from analysis.bits import against, gap
from analysis.groups import Split
from analysis.significance import LEVEL, Difference, difference, holm, shown
from analysis.table import plus_minus

ODE = "ode_tn_k1_h1"
"""The ODE likelihood that sentences are about, where the baseline has several."""

Tested = Mapping[str, tuple[Difference, float]]
"""Run -> a difference of bits, and its corrected p."""


def reading(split: Split) -> list[str]:
    """Sentences on the runs against the baseline, by the estimator that they share and by an ODE likelihood."""
    common, every = split.labels[0], against(split)
    labels = list(dict.fromkeys([common, *_ode(split)]))
    found = list[str]()
    for label in labels:
        tested = {run: each for (of, run), each in every.items() if of == label}
        if tested:
            start = f"By `{label}`, against `{split.baseline.name}`, bits/dim are"
            found.append(f"{start} {_said(tested)}. {_corrected(len(tested))}")
    for label in labels[1:]:
        tested = _gaps(split, common, label)
        if tested:
            start = f"Against the bound `{common}` of the same weights, which is another model, `{label}` is"
            found.append(f"{start} {_said(tested)}. {_corrected(len(tested))}")
        found += _reversals(split, common, label)
    return [*found, *_price(split), *_seeds(split)]


def _ode(split: Split) -> list[str]:
    known = [score.label for score in split.scores[split.baseline.name].values() if not score.is_bound]
    return [ODE] if ODE in known else known[:1]


def _said(tested: Tested) -> str:
    """Which are lower, which higher, and of which neither is seen."""

    def named(chosen: Iterable[str]) -> str:
        return ", ".join(
            f"`{run}` ({plus_minus(tested[run][0].mean, signed=True)}, p {_p(tested[run][1])})" for run in chosen
        )

    decided = {run: p <= LEVEL for run, (_, p) in tested.items()}
    parts = [
        ("lower for", [run for run in tested if decided[run] and tested[run][0].mean.value < 0]),
        ("higher for", [run for run in tested if decided[run] and tested[run][0].mean.value > 0]),
        ("not seen to differ for", [run for run in tested if not decided[run]]),
    ]
    return "; ".join(f"{words} {named(chosen)}" for words, chosen in parts if chosen)


def _corrected(comparisons: int) -> str:
    return "One comparison." if comparisons == 1 else f"p is corrected for {comparisons} comparisons."


def _gaps(split: Split, bound: str, ode: str) -> Tested:
    """The ODE likelihood less the bound of each run that has both on the same images."""
    found: dict[str, Difference] = {}
    for run in split.ranked:
        of_run = split.scores[run.name]
        if ode in of_run and (over := gap(of_run, of_run[ode], bound)):
            found[run.name] = over[1].turned
    return dict(zip(found, zip(found.values(), holm([each.p for each in found.values()]), strict=True), strict=True))


def _reversals(split: Split, first: str, second: str) -> Iterator[str]:
    """Runs that one estimator puts below others and the second above them, where tests of all pairs say both."""
    below = [_below(split, label) for label in (first, second)]
    turned = [(a, b) for a, b in below[0] if (b, a) in below[1]]
    for run in dict.fromkeys(a for a, _ in turned):
        others = ", ".join(f"`{b}`" for a, b in turned if a == run)
        yield f"The two disagree on `{run}`: it is below {others} by `{first}`, and above by `{second}`."


def _below(split: Split, label: str) -> list[tuple[str, str]]:
    """Pairs of runs of which the first has significantly fewer bits, corrected for the number of pairs."""
    scores = {run.name: split.scores[run.name][label] for run in split.ranked if label in split.scores[run.name]}
    pairs = {
        (a, b): difference(scores[a].bits, scores[b].bits)
        for a, b in permutations(scores, 2)
        if a < b and scores[a].identity == scores[b].identity
    }
    found = list[tuple[str, str]]()
    for ((a, b), each), p in zip(pairs.items(), holm([each.p for each in pairs.values()]), strict=True):
        if p <= LEVEL:
            found.append((a, b) if each.mean.value < 0 else (b, a))
    return found


def _price(split: Split) -> Iterator[str]:
    """That equal examples are not equal compute, where they are not."""
    spent = {run.name: run.experiment.training.examples * run.cost.step_flops for run in split.ranked}
    base = spent[split.baseline.name]
    other = [f"`{run}` {flops / base:.2f} times" for run, flops in spent.items() if abs(flops / base - 1) > 0.005]
    if other:
        yield f"The compute was not equal: of the FLOPs of `{split.baseline.name}`, training took {', '.join(other)}."


def _seeds(split: Split) -> Iterator[str]:
    named = [run.experiment.name for run in split.ranked]
    if len(set(named)) == len(named):
        yield "Each model is one training: what another seed would change is in none of these errors."


def _p(p: float) -> str:
    text = shown(p)
    return text if text.startswith("<") else f"= {text}"
