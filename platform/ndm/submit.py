"""A verb as a job of a Ray cluster: packed here, run there by the same script, its exit status the command's own."""

import argparse
import os
import re
import secrets
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ndm import environment, notation, presets
from ndm.config import handed_on
from ndm.errors import UserError
from ndm.runtime import jobs
from ndm.runtime.package import pack
from ndm.terminal import Terminal

REPOSITORY = Path(__file__).resolve().parents[2]
MAKES_RUN = ("train", "search", "evaluate", "report", "sample")
UNFIT = r"[^A-Za-z0-9._-]"
"""What the name of a job cannot have."""
STOP_SECONDS = 120
"""That a job has between a stop and its end, to save a checkpoint; Ray's own default is three."""


def options(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The switches of a submission, and the words that are left to the verb."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--address", default=environment.job_server())
    parser.add_argument("--queue", action="store_true")
    parser.add_argument("--detach", action="store_true")
    parser.add_argument("--allow-clear-text", action="store_true")
    parser.add_argument("--allow-no-token", action="store_true")
    return parser.parse_known_args(words)


def submit(verb: str, words: Sequence[str], asked: argparse.Namespace) -> int:
    """Submit a verb and follow it to its end; returns its exit status, or 0 for one that is detached.

    Raises:
        UserError: the cluster cannot be reached or is not closed, or the experiment is not valid.
    """
    terminal = Terminal()
    jobs.check(asked.address, clear_text=asked.allow_clear_text, no_token=asked.allow_no_token)
    if asked.allow_no_token and not jobs.has_token():
        os.environ["RAY_AUTH_MODE"] = "disabled"
    words, files, run = portable(verb, list(words))
    if asked.queue:
        words.append("scaling.queue=true")
    package = pack(REPOSITORY, files)
    client = jobs.connect(asked.address)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, package.name)
        file.write_bytes(package.content)
        with jobs.answering(asked.address):
            job = client.submit_job(
                entrypoint=shlex.join(["python", f"jobs/{verb}.py", *words]),
                submission_id=f"{verb}-{re.sub(UNFIT, '-', run)}-{secrets.token_hex(3)}",
                runtime_env={
                    "working_dir": str(file),
                    # Both from the folder of the job, wherever it is unpacked.
                    "env_vars": {
                        "PYTHONPATH": "platform:.",
                        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS),
                        environment.IN_JOB: "1",
                    },
                },
                metadata={"ndm": verb, "command": shlex.join(["ndm", verb, *words]), **package.provenance},
            )
    terminal.say(f"Submitted {job} ({package.line()}).")
    if asked.detach:
        jobs.detached(job, asked.address)
        return 0
    status = jobs.attend(client, asked.address, job)
    if status == 0 and verb in MAKES_RUN:
        terminal.say(f"This brings it here: ndm pull {run}")
    return status or 0


def portable(verb: str, words: list[str]) -> tuple[list[str], dict[str, bytes], str]:
    """The words as they are understood there, the files that they name, and the name of the run.

    A mistake is told before anything is sent.
    """
    plain = [number for number, word in enumerate(words) if not word.startswith("-") and "=" not in word]
    if not plain:
        raise UserError(f"ndm {verb} takes an experiment or a run; see ndm {verb} --help.")
    target, overrides = words[plain[0]], [word for word in words if "=" in word and not word.startswith("-")]
    if verb == "search":
        from ndm.search.config import load

        search = load(target, overrides)
        if target.endswith((".yaml", ".yml")):
            raise UserError(f"A search that is submitted lies in jobs/searches: move {target} there and give its name.")
        return words, {}, search.name
    known = target.endswith((".yaml", ".yml")) or target in presets.names()
    if not known and verb not in ("prepare", "train"):  # a run or a search, which is known there
        return words, {}, target.partition("@")[0]
    name = presets.load(target, overrides).run_name()
    if target in presets.names():
        return words, {}, name
    # The file with what it extends, without the places of this machine.
    tree = presets.load(target, []).model_dump(mode="json")
    text = notation.write(handed_on(tree))
    words[plain[0]] = "experiment.yaml"
    return words, {"experiment.yaml": text.encode()}, name
