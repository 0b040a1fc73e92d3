"""A Slurm cluster over hosts: the controller on the first, and a node on each, with Debian's own Slurm.

There is no munge: hosts see one file system, and all that happens on them is done by one user.
"""

import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from hosts import Host
from processes import LONG, Process

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "sinfo")
BETWEEN_LOOKS = 0.5  # seconds

SETTINGS = """
ClusterName=tests
SlurmctldHost={head}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node-%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/node-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=30
NodeName={nodes} CPUs=1 RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes={nodes} Default=YES MaxTime=INFINITE State=UP
"""
"""A job that was put back waits as long as a credential is good for: two minutes, if nothing is said."""


def missing() -> str | None:
    """What this machine does not offer, in a sentence; None where Slurm is installed."""
    if absent := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"Slurm is not installed ({', '.join(absent)}): apt-get install --no-install-recommends slurm-wlm"
    return None


class SlurmCluster:
    """Controller and nodes; leaving the block ends them, and the hosts end what jobs have left."""

    def __init__(self, hosts: Sequence[Host], folder: Path) -> None:
        """`folder` is one that all hosts see."""
        self.head, self._hosts, self._folder = hosts[0], hosts, folder
        settings = folder / "slurm.conf"
        nodes = ",".join(host.name for host in hosts)
        settings.write_text(SETTINGS.format(head=self.head.name, folder=folder, nodes=nodes))
        self._environment = {"SLURM_CONF": str(settings)}
        self._daemons: list[Process] = []

    def __enter__(self) -> Self:
        (self._folder / "state").mkdir()
        self._daemons.append(self.head.start("slurmctld", "-D", **self._environment))
        for host in self._hosts:
            (self._folder / f"spool-{host.name}").mkdir()
            self._daemons.append(host.start("slurmd", "-D", **self._environment))
        ready = ["idle"] * len(self._hosts)
        self._daemons[0].until(lambda: self.ask("sinfo", "--noheader", "-N", "-o", "%t").split() == ready)
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in self._daemons:
            daemon.__exit__()

    def ask(self, *program: str) -> str:
        """What a program of Slurm prints; nothing where the controller is not up yet."""
        with self.head.start(*program, **self._environment) as process:
            process.process.wait(LONG)
        return process.output

    def submit(self, folder: Path, *arguments: str, **environment: str) -> str:
        """The number of a job that is submitted from a folder."""
        said = self.head.run("sbatch", "--parsable", *arguments, folder=folder, **self._environment, **environment)
        return said.output.strip()

    def state(self, job: str) -> tuple[str, int]:
        """What a job is doing or ended as, in Slurm's word for it, and its exit status."""
        shown = self.ask("scontrol", "show", "job", job)
        (state,) = re.findall(r"JobState=(\w+)", shown)
        (status,) = re.findall(r"ExitCode=(\d+):", shown)
        return state, int(status)

    def until(self, job: str, *states: str) -> int:
        """Wait until a job is in one of these states; its exit status."""
        end = time.monotonic() + LONG
        while (shown := self.state(job))[0] not in states:
            assert time.monotonic() < end, f"job {job} is {shown[0]}, and not {' or '.join(states)}"
            time.sleep(BETWEEN_LOOKS)
        return shown[1]
