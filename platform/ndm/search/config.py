"""The typed search: what a YAML file of jobs/searches and `key=value` overrides resolve to."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ndm import mistakes, presets
from ndm.config import WHERE, Name, Seed
from ndm.errors import UserError
from ndm.likelihood.estimators import valid_name
from ndm.registry import Config
from ndm.search import pruners, searchers
from ndm.search.pruners import asha
from ndm.search.searchers import random
from ndm.search.space import Space

FOLDER = Path(__file__).resolve().parents[3] / "jobs" / "searches"
BOUND = re.compile(r"\s*(flops_ratio|parameters)\s*(<=|>=|<|>)\s*([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\s*")


def _bound(text: str) -> str:
    if not BOUND.fullmatch(text):
        raise ValueError("flops_ratio or parameters, then <=, <, >= or >, then a number, such as flops_ratio <= 2")
    return text


def _bound_name(name: str) -> str:
    if not valid_name(name).startswith("elbo") or "adaptive" in name:
        raise ValueError("a bound that needs no fitting, such as elbo or elbo_cont_k64")
    return name


class Score(Config):
    """What trials are compared by: a bound on the first validation images, the same noise for every trial."""

    estimator: Annotated[str, AfterValidator(_bound_name)] = "elbo"
    """A bound, by name, see `ndm.likelihood.estimators`."""
    draws: int = Field(default=16, gt=0)
    """Draws per image of `elbo`, stratified in time."""
    images: int = Field(default=1000, ge=2)
    """At most this many."""
    seed: Seed = 1


class Search(Config):
    """A search. Every trial may spend the FLOPs that the baseline spends on `examples`."""

    name: Name
    experiment: str
    """The preset or file that every trial starts from."""
    set: dict[str, Any] = {}  # noqa: RUF012
    """Dotted keys of it that are other for all trials."""
    space: Space = Field(min_length=1)
    constraints: tuple[Annotated[str, AfterValidator(_bound)], ...] = ()
    """Bounds on `flops_ratio`, a step's FLOPs over the baseline's, and on `parameters`, those of all networks."""
    baseline: dict[str, Any] = Field(default={"transform": {"kind": "identity"}}, min_length=1)
    """The point that always runs, to the end, and that costs are counted in."""
    examples: int = Field(gt=0, lt=10**12)
    """That the baseline sees; the others see as many as its compute pays for."""
    trials: int = Field(default=16, gt=0)
    """Points beside the baseline; a grid has its own number, of which this is the most."""
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    """Each point is trained with each."""
    searcher: searchers.AnyConfig = random.Config()
    pruner: pruners.AnyConfig = asha.Config()
    score: Score = Score()
    concurrency: int | None = Field(default=None, gt=0)
    """Trials at a time; null for as many as there is room for."""
    gpus: float = Field(default=1.0, gt=0)
    """Of one worker of a trial, where there are GPUs; several trials share one if it is below 1."""
    max_failures: int = Field(default=3, ge=0)
    """Times that a trial is taken up again after its worker died."""

    @model_validator(mode="after")
    def _searchable(self) -> Self:
        for key in (*self.space, *self.set, *self.baseline):
            if key.partition(".")[0] in ("name", "run", "seed"):
                raise ValueError(f"{key} is no key of a search; seeds=[0,1] repeats each point, name=... names it")
        if "training.examples" in (*self.set, *self.baseline):
            raise ValueError("training.examples is no key of a search; examples=... decides it for every trial")
        for key in self.space:
            if key == "training.examples" or key.partition(".")[0] in ("data", *WHERE):
                raise ValueError(f"{key} cannot be searched over: trials are compared on the same data and compute")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)} must differ")
        self.searcher.check(self.space, self.pruner)
        self.pruner.check(self.space)
        if self.pruner.breeds and len(self.seeds) > 1:
            raise ValueError(f"pruner.kind={self.pruner.kind} works with one seed, not seeds={list(self.seeds)}")
        return self

    def digest(self) -> str:
        """SHA-256 of what decides its trials; how many there are and where they run may change later."""
        free = {"concurrency", "gpus", "max_failures"}
        if not self.pruner.breeds:  # else they all know of one another
            free.add("trials")
        deciding = self.model_dump(mode="json", exclude=free)
        deciding["set"] = {key: value for key, value in self.set.items() if key.partition(".")[0] not in WHERE}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def satisfied(self, flops_ratio: float, parameters: int) -> bool:
        """Whether a point with this cost is within the constraints."""
        values = {"flops_ratio": flops_ratio, "parameters": float(parameters)}
        tests = {"<=": float.__le__, "<": float.__lt__, ">=": float.__ge__, ">": float.__gt__}
        found = [BOUND.fullmatch(text) for text in self.constraints]
        return all(m and tests[m[2]](float(values[m[1]]), float(m[3])) for m in found)


def names() -> list[str]:
    """The searches that ship with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(search: str, overrides: Sequence[str] = ()) -> Search:
    """The search of a name or a YAML file's path, with overrides: of its own keys, or of keys of the experiment.

    Raises:
        UserError: an unknown name or key, a file that cannot be read, a wrong value.
    """
    if search.endswith((".yaml", ".yml")):
        path = Path(search)
    elif search in names():
        path = FOLDER / f"{search}.yaml"
    else:
        shown = mistakes.shown(search)
        raise UserError(f"There is no search {shown}: {mistakes.hint(shown, names(), 'searches')}")
    tree = presets.parse(path, "search")
    tree.setdefault("name", path.stem)
    for text in overrides:
        key, value = presets.split(text)
        if key.partition(".")[0] in Search.model_fields:
            _lay(tree, key.split("."), value)
        else:
            _lay(tree, ["set", key], value)
    return resolve(tree)


def resolve(tree: dict[str, Any]) -> Search:
    """A nested mapping as a search; errors as for `load`."""
    try:
        return Search.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise UserError(_mistake(error, tree)) from None


def _lay(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *parents, leaf = path
    for part in parents:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise UserError(f"{'.'.join(path)} is no key of a search: {part} holds a value.")
    if leaf == "kind":  # another variant has other keys
        tree.clear()
    tree[leaf] = value


def _mistake(error: ValidationError, tree: dict[str, Any]) -> str:
    detail = error.errors(include_url=False)[0]
    if detail["type"] == "extra_forbidden":
        *parents, key = (str(part) for part in detail["loc"])
        if not parents:
            hint = mistakes.hint(key, list(Search.model_fields), "keys")
            return f"Unknown key {mistakes.shown(key)} of a search: {hint}"
        return f"Unknown key {mistakes.shown(key)} in {'.'.join(parents)} of the search."
    if detail["type"] == "missing":
        return f"{'.'.join(map(str, detail['loc']))} of the search is missing."
    return f"The search is not valid: {mistakes.in_values(error, tree)}"
