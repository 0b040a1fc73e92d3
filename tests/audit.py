"""What is installed is what constraints.txt names, and every package's licence is known and lets it be used.

Part of `make check`; it needs no network, so it knows nothing of vulnerabilities: `make audit` asks for those.
"""

import re
import sys
from importlib.metadata import Distribution, PackageMetadata, distributions
from pathlib import Path

from ndm.lock import normal, pins, public

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = frozenset({"flow-matching"})
"""Of the extra `bench`."""
WITH_TORCH = ("nvidia-", "cuda-", "triton")
"""Beginnings of what torch brings along where it is built for GPUs, at versions that it decides."""
UNPINNED = {"ndm", "pip", "setuptools", "wheel"}
"""The project itself, and what makes an environment."""
PERMISSIVE = re.compile(
    r"Apache|MIT|BSD|0BSD|ISC|PSF|Python Software Foundation|Zlib|CC0|BSL-1\.0|HPND|Unlicense|MPL|Mozilla Public"
)
REVIEWED = {
    "psycopg": "LGPL-3.0: imported as a library and not changed; MLflow's server alone uses it",
    "psycopg-binary": "LGPL-3.0: as psycopg",
    "huey": "MIT, by the text of its licence; its metadata name none",
    "skops": "MIT, by the text of its licence; its metadata say only that it is approved by the OSI",
}
"""Packages whose licence was read by a person, and what was found."""


def licences(metadata: PackageMetadata) -> list[str]:
    """Each licence that a package's metadata name, of an expression its parts joined by AND."""
    if expression := metadata.get("License-Expression"):
        return expression.split(" AND ")
    named = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
    return named or [(metadata.get("License") or "none").strip()[:60]]


def mistakes(wanted: dict[str, str], installed: list[Distribution], optional: frozenset[str]) -> list[str]:
    """What is wrong with an environment, in sentences; `optional` are pins that need not be installed."""
    found = {name: d for d in installed if not (name := normal(d.metadata["Name"])).startswith(WITH_TORCH)}
    said = [f"{name} is installed and not in constraints.txt." for name in sorted(found.keys() - wanted - UNPINNED)]
    for name, version in sorted(wanted.items()):
        if name not in found:
            said += [] if name in optional else [f"{name} is in constraints.txt and not installed."]
        elif (here := public(found[name].version)) != version:
            said.append(f"{name} is installed as {here}, constraints.txt has {version}.")
    for name, distribution in sorted(found.items()):
        unknown = [text for text in licences(distribution.metadata) if not PERMISSIVE.search(text)]
        if unknown and name not in REVIEWED:
            said.append(f"{name} has the licence {', '.join(unknown)}: read it, and add what it is to tests/audit.py.")
    return said


def main() -> int:
    """Say what is wrong; the number of mistakes is the exit status."""
    said = mistakes(pins((ROOT / "constraints.txt").read_text()), list(distributions()), OPTIONAL)
    print("\n".join(said) or "The environment is the one of constraints.txt; every licence is known.")
    return min(len(said), 1)


if __name__ == "__main__":
    sys.exit(main())
