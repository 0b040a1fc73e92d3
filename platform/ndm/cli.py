"""The command line: `ndm VERB EXPERIMENT [key=value ...]`. A verb is a script in `jobs/`; its help imports little."""

import argparse
import ast
import difflib
import runpy
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ndm.errors import UserError

JOBS = Path(__file__).resolve().parents[2] / "jobs"

EPILOG = """EXPERIMENT is a preset of jobs/experiments or a YAML file; key=value overrides its dotted keys:
  ndm train digits-ndm training.examples=200000 transform.kind=time_basis"""


def verbs() -> dict[str, str]:
    """Verb -> the first line of its script's docstring, read without running it."""
    docs = {path.stem: ast.get_docstring(ast.parse(path.read_text())) or "" for path in sorted(JOBS.glob("*.py"))}
    return {verb: doc.partition("\n")[0] for verb, doc in docs.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `ndm`; returns the exit status."""
    verb, *rest = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    known = verbs()
    if verb in ("-h", "--help"):
        lines = [f"  {name:<15}{line}" for name, line in known.items()]
        print("\n".join(["usage: ndm VERB EXPERIMENT [key=value ...]", "", *lines, "", EPILOG]))
        return 0
    if verb not in known:
        close = difflib.get_close_matches(verb, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"the verbs are {', '.join(known)}."
        print(f"Unknown verb {verb}: {hint}", file=sys.stderr)
        return 2
    sys.argv = [verb, *rest]
    try:
        runpy.run_path(str(JOBS / f"{verb}.py"), run_name="__main__")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    return 0


def job(
    body: Callable[[argparse.Namespace], None],
    description: str | None,
    *,
    target: str = "EXPERIMENT",
    short: Mapping[str, str] = MappingProxyType({}),
    **flags: str,
) -> int:
    """Run a job script's body with parsed arguments; a user's mistake becomes one sentence and status 2.

    `flags` are the script's own switches, name -> help; `options.experiment` and `options.overrides` are always there.
    `short` are names for keys that the verb is asked about most, name -> dotted key, or key[] where the key is a list.
    """
    parser = argparse.ArgumentParser(
        prog=f"ndm {Path(sys.argv[0]).stem}",
        description=description,
        epilog=EPILOG + (f"\nShort for longer keys: {_listed(short)}." if short else ""),
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("experiment", metavar=target)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    for name, text in flags.items():
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=text)
    options = parser.parse_intermixed_args()
    options.overrides = [in_full(text, short) for text in options.overrides]
    return guarded(lambda: body(options))


def in_full(text: str, short: Mapping[str, str]) -> str:
    """An override with its short name replaced: "split=test" -> "evaluation.split=test"; others stay as they are.

    Where `short` has key[], a value of one or more words parted by commas becomes a list. A value in braces is left
    alone: it holds the keys of a section that has the same name.
    """
    name, equals, value = text.partition("=")
    if name not in short or not equals or value.lstrip().startswith("{"):
        return text
    key = short[name]
    if not key.endswith("[]"):
        return f"{key}={value}"
    return f"{key[:-2]}={value if value.lstrip().startswith('[') else f'[{value}]'}"


def _listed(short: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({key.removesuffix('[]')})" for name, key in short.items())


def guarded(body: Callable[[], None]) -> int:
    """Run a body; a user's mistake becomes one sentence and status 2, an interrupt status 130."""
    # A stop from a scheduler is handled like Ctrl-C: save, mark the run KILLED, leave. Not by raising SIGINT: a shell
    # starts background jobs with that one ignored.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        body()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
