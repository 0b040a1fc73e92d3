"""Distances of samples from data as a run records them: one name for each drawing of samples, one for each metric."""

from collections.abc import Mapping

METRICS = {
    "sliced_wasserstein": "sliced Wasserstein",
    "sliced_wasserstein_floor": "sliced Wasserstein of equal laws",
    "mmd_squared": "MMD squared",
    "fid": "FID",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
}
"""In words, by a metric's name without its ending, which is the features."""


def by_drawing(values: Mapping[str, float]) -> dict[str, dict[str, tuple[float, float]]]:
    """(value, standard error) by drawing and metric: {"heun_nfe40_n1000_train1437": {"fid_random": (1.2, 0.1)}}.

    Args:
        values: what a run recorded at its end, by name, as in samples/heun_nfe40_n1000_train1437/fid_random.
    """
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for key, value in values.items():
        match key.split("/"):
            case ["samples", drawing, metric] if f"{key}_se" in values:
                found.setdefault(drawing, {})[metric] = (value, values[f"{key}_se"])
            case _:
                pass
    return {
        drawing: {metric: found[drawing][metric] for metric in sorted(found[drawing], key=rank)}
        for drawing in sorted(found)
    }


def rank(metric: str) -> tuple[int, str]:
    """The place of a metric among others; one that has no words is behind those that have."""
    name, _, features = metric.rpartition("_")
    return (list(METRICS).index(name), features) if name in METRICS else (len(METRICS), metric)


def words(metric: str) -> tuple[str, str]:
    """fid_random: (FID, random); what has no words is its own name, of no features."""
    name, _, features = metric.rpartition("_")
    return (METRICS[name], features) if name in METRICS else (metric, "")


def spoken(metric: str) -> str:
    """fid_random: FID (random); what has no words is its own name."""
    name, features = words(metric)
    return f"{name} ({features})" if features else name
