"""What a program may rely on: the public names of `ndm`, their parameters, and that importing it is cheap."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ndm

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text()

SIGNATURES = {
    "load": "(path, *, device=None)",
    "Pretrained.sample": "(self, count, *, seed=0, sampler=None, batch=None)",
    "Pretrained.likelihood": "(self, images, estimator='elbo', *, seed=None, first_id=0, tolerance=None, pilot=None, "
    "batch=None)",
}
ATTRIBUTES = {"objective", "process", "experiment", "about", "shape", "levels", "card"}
FIELDS = ("estimator", "nats", "bits_per_dim", "mean")


def signature(name: str) -> str:
    found: object = ndm
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)
    bare = [p.replace(annotation=p.empty) for p in inspect.signature(found).parameters.values()]
    return str(inspect.Signature(bare))


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_stay_what_they_are(name: str) -> None:
    assert signature(name) == SIGNATURES[name]


def test_names_stay_what_they_are() -> None:
    public = {name for name in vars(ndm.Pretrained) if not name.startswith("_")}
    given = re.findall(r"^ +self\.(\w+) = ", inspect.getsource(ndm.Pretrained.__init__), re.MULTILINE)
    assert public | set(given) == ATTRIBUTES | {"sample", "likelihood"}
    assert ndm.Likelihood._fields == FIELDS
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        ndm.laod  # noqa: B018


def test_the_page_has_every_name_with_its_parameters() -> None:
    for name, expected in SIGNATURES.items():
        call = re.search(rf"^### `(?:model|ndm)\.{name.rpartition('.')[2]}(\(.*\))`$", PAGE, re.MULTILINE)
        assert call, name
        assert call[1].replace('"', "'") == expected.replace("self, ", "")
    for name in ATTRIBUTES | set(FIELDS):
        assert f"`{name}`" in PAGE or f"`.{name}`" in PAGE, name


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = "import sys, ndm; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "platform")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "ndm" in loaded
    assert not loaded & {"torch", "numpy", "pydantic", "pyarrow", "ray", "mlflow", "yaml", "scipy"}
