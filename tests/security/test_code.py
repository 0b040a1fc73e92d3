"""No code of the project can be made to run what a file says: calls that would are not in it, but for those named."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for top in ("platform", "jobs", "analysis") for path in sorted((ROOT / top).rglob("*.py"))]
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path", "runpy.run_module"),
    *("torch.load", "torch.jit.load", "torch.hub.load", "joblib.load", "dill.load", "dill.loads", "shelve.open"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads", "marshal.loads"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "pd.read_pickle", "pandas.read_pickle"),
    *("importlib.import_module", "shutil.unpack_archive", "subprocess.getoutput"),
}
METHODS = {"extractall", "extract", "unsafe_load", "full_load"}
"""Of any object."""
KEYWORDS = {("allow_pickle", "True"), ("shell", "True"), ("weights_only", "False"), ("trust_remote_code", "True")}
ALLOWED = {
    ("analysis/figures/__init__.py", "importlib.import_module"): "of the files in the folder itself",
    ("platform/ndm/__init__.py", "importlib.import_module"): "of one module, whose name is in the code",
    ("platform/ndm/cli.py", "runpy.run_path"): "a verb's script, by a name that is one of the files in jobs/",
    ("platform/ndm/notation.py", "yaml.load"): "with a loader of our own, which reads plain values alone",
    ("platform/ndm/quality/inception.py", "torch.load"): "with weights_only, of a file that the user names",
    ("platform/ndm/quality/inception.py", "importlib.import_module"): "of a module whose name is in the code",
    ("platform/ndm/registry.py", "importlib.import_module"): "of the files in a package's own folder",
    ("platform/ndm/data/sources/_pickles.py", "pickle.Unpickler"): "whose names are all functions of ours",
}


def found(source: str) -> Iterator[str]:
    """Dangerous calls, and classes that inherit from what makes them; names as they are imported."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        for used in [node.func] if isinstance(node, ast.Call) else getattr(node, "bases", []):
            first, dot, rest = ast.unparse(used).partition(".")
            name = names.get(first, first) + dot + rest
            if name in FORBIDDEN:
                yield name
            elif isinstance(used, ast.Attribute) and used.attr in METHODS:
                yield used.attr
        if isinstance(node, ast.Call):
            given = {(keyword.arg, ast.unparse(keyword.value)) for keyword in node.keywords}
            yield from (f"{name}={value}" for name, value in KEYWORDS & given)


def test_nothing_runs_what_a_file_says_but_what_is_named_here_with_its_reason() -> None:
    assert len(SOURCES) > 100
    calls = {(str(path.relative_to(ROOT)), name) for path in SOURCES for name in found(path.read_text())}
    assert calls == ALLOWED.keys()


def test_weights_are_read_as_tensors_alone() -> None:
    assert "weights_only=True" in (ROOT / "platform" / "ndm" / "quality" / "inception.py").read_text()


@pytest.mark.parametrize(
    "source",
    [
        "import torch as t\nt.load(x)",
        "from torch import load as fetch\nfetch(x)",
        "from pickle import loads\nloads(x)",
        "import pickle\nclass U(pickle.Unpickler): ...",
        "import yaml\nyaml.load(x, yaml.Loader)",
        "import numpy as np\nnp.load(x, allow_pickle=True)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "archive.extractall(x)",
        "import os\nos.system(x)",
        "eval(x)",
    ],
)
def test_such_a_call_is_noticed(source: str) -> None:
    assert list(found(source))


@pytest.mark.parametrize("source", ["model.eval()", "import re\nre.compile(x)", "json.loads(x)", "np.load(x)"])
def test_another_call_is_not(source: str) -> None:
    assert not list(found(source))
