"""Choose runs by the keys of their experiments: data=imagenet32 transform.kind=residual."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ndm import presets
from ndm.errors import UserError
from ndm.mistakes import hint, shown


def asked(filters: Sequence[str], abouts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Dotted keys with the values that they must have; `data` stands for data.kind, as other sections do.

    Args:
        filters: key=value.
        abouts: what is said of the runs to choose from, see `ndm.runs.about`.

    Raises:
        UserError: a filter is not of that form, or its key is of none of the experiments.
    """
    known = {key for about in abouts if about["kind"] == "run" for key in about["experiment"]}
    found: dict[str, Any] = {}
    for text in filters:
        key, value = presets.split(text)
        full = key if key in known else f"{key}.kind"
        if known and full not in known:
            raise UserError(f"{shown(key)} is no key of these experiments: {hint(key, sorted(known), 'keys')}")
        found[full] = value
    return found


def fits(about: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a run has these values; a search fits where nothing is wanted."""
    if not wanted:
        return True
    return about["kind"] == "run" and all(about["experiment"].get(key) == value for key, value in wanted.items())
