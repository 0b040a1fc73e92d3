"""What `ndm search --dry-run` prints: the search, and what its first points would be and cost."""

from ndm import notation
from ndm.search.config import Search
from ndm.search.plan import Plan
from ndm.search.searchers import Opening, Tried
from ndm.search.space import Point


def describe(search: Search) -> str:
    """The search as YAML, with the points that can be said before anything has run as comments below.

    Raises:
        UserError: as for `Plan` and its `check`.
    """
    plan = Plan(search)
    plan.check()
    points: list[Point] = []
    while len(points) < search.trials and search.searcher.waits_for(len(points)) == 0:
        before = [Tried(point, (), False, 1.0) for point in points]
        point = search.searcher.point(Opening(len(points), search.space, plan.values, before, plan.allowed))
        if point is None:
            break
        points.append(point)
    lines = [f"every trial may spend {plan.budget:.3e} FLOPs, what the baseline does on {search.examples} examples"]
    lines.append(f"baseline: rungs at {_stops(plan, search.baseline)} examples")
    lines += [
        f"{number:3d} {plan.label(point)}: {plan.flops_ratio(point):.2f} times its step; rungs at {_stops(plan, point)}"
        for number, point in enumerate(points, 1)
    ]
    return "\n".join([notation.write(search.model_dump(mode="json")), *(f"# {line}" for line in lines)])


def _stops(plan: Plan, point: Point) -> str:
    return ", ".join(map(str, plan.stops(point)))
