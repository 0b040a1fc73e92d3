"""The command line: `ndm VERB EXPERIMENT [key=value ...]`. A verb is a script in `jobs/`; its help imports little."""

import argparse
import ast
import difflib
import os
import runpy
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ndm import environment
from ndm.errors import UserError
from ndm.lock import differing

JOBS = Path(__file__).resolve().parents[2] / "jobs"

SUBMITTED = frozenset({"prepare", "train", "search", "evaluate", "report", "sample"})
"""Verbs that a cluster can run as a job."""

EPILOG = """EXPERIMENT is a preset of jobs/experiments or a YAML file; key=value overrides its dotted keys:
  ndm train digits-ndm training.examples=200000 transform.kind=time_basis
With --address https://head:8265, or RAY_ADDRESS set to that, a verb runs on a cluster as a job; --queue waits for room
there, --detach leaves it at once (Ctrl-C later), and ndm jobs comes back to it."""


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
    if verb in SUBMITTED and not {"-h", "--help", "--dry-run"} & {*rest} and _names_cluster(rest):
        from ndm.submit import options, submit

        asked, words = options(rest)
        return guarded(lambda: submit(verb, words, asked))
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
    **flags: str | tuple[str, str],
) -> int:
    """Run a job script's body with parsed arguments; a user's mistake becomes one sentence and status 2.

    `flags` are the script's own switches, name -> help, or (value's name, help) for one that takes a value;
    `options.experiment` and `options.overrides` are always there.
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
        switch = f"--{name.replace('_', '-')}"
        if isinstance(text, str):
            parser.add_argument(switch, action="store_true", help=text)
        else:
            parser.add_argument(switch, metavar=text[0], help=text[1])
    options = parser.parse_intermixed_args()
    options.overrides = [in_full(text, short) for text in options.overrides]
    if environment.IN_JOB in os.environ:
        _look_at_the_node()
    return guarded(lambda: body(options))


def _look_at_the_node() -> None:
    """Say where a job's node has other packages than those that everything was tested with."""
    if found := differing(JOBS.parent / "constraints.txt"):
        shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
        print(f"This node's environment is not that of constraints.txt: {shown}.", file=sys.stderr, flush=True)


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


def _names_cluster(words: Sequence[str]) -> bool:
    """Whether a job server is named; a cluster to be joined, host:port, is another matter."""
    given = any(word.partition("=")[0] == "--address" for word in words)
    return given or environment.job_server() is not None


def _is_unread() -> bool:
    """Whether the reader of standard output, such as `head`, has seen enough and left."""
    output = select.poll()
    output.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in output.poll(0))


def guarded(body: Callable[[], int | None]) -> int:
    """Run a body for its status, none being 0; a user's mistake becomes one sentence and status 2, an interrupt 130."""
    # A stop from a scheduler is handled like Ctrl-C: save, mark the run KILLED, leave. Not by raising SIGINT: a shell
    # starts background jobs with that one ignored.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = body() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not _is_unread():
            raise  # another pipe is no matter of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would say it once more at its end
        return 128 + signal.SIGPIPE
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
