"""Two, three or more hosts on one machine, out of Linux namespaces: what only a real network shows can be tested.

A host has a network card, a name, a hosts file, processes, shared memory and a home of its own. One folder, `data`, has
the same path on every host and its own content on each; another, `shared`, is the same on all of them. Everything else
of the machine's files, the program and the tests among them, is seen by all. The cards are ports of one switch that is
a namespace too, so nothing of the machine's own network is changed, and two processes of tests cannot get into each
other's way. There is no way out, and no default route: Ray is slow to start where one leads nowhere.

A host ends with its first process, which ends with the process of the tests, however that ends: the kernel then kills
all that runs there and removes the cards. What can be left is a folder of files, and the next `Hosts` removes it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import psutil
from processes import Process

OTHERS = ("RAY_", "AWS_", "NDM_", "MLFLOW_", "GLOO_", "NCCL_", "PYTEST_")
"""Of an environment: what belongs to another cluster."""

NEEDED = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux", "mount": "mount"}
"""Program -> its package in Debian."""

CAPABILITIES = 1 << 12 | 1 << 21
"""CAP_NET_ADMIN and CAP_SYS_ADMIN, without which no namespace can be set up."""

NETWORK = "10.77.0"
CARD = "eth0"
PREFIX = "ndm-"
"""Of the folder of all files, which is short because Ray's sockets, far below it, have at most 107 characters."""

FIRST = "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
"""The first process: it says that all is set up, buries the orphans, and ends when the tests do."""

SETUP = """
hostname "$1"
mount -t tmpfs -o size=2g tmpfs /dev/shm
mount --bind "$2/hosts" /etc/hosts
mount --bind "$3" "$2/shared"
mount --rbind "$2" "$4"
ip link set lo up
shift 4
exec "$@"
"""
"""Run inside with the host's name, its disk, the shared folder, where the disk is seen, and the first process."""


class HostsRefused(Exception):
    """Hosts cannot be made here."""


class _Namespaces:
    """Namespaces with their first process, for as long as this process lives or until `end`."""

    def __init__(self, kinds: Sequence[str], before: Sequence[str] = ()) -> None:
        program = ["unshare", *kinds, "--pid", "--fork", "--kill-child", *before, sys.executable, "-c", FIRST]
        self._process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            said = self._process.communicate()[1].decode().strip()
            raise HostsRefused(said or "the first process of a host ended")
        (first,) = psutil.Process(self._process.pid).children()
        self.pid = first.pid
        """Of the first process, as it is known outside."""

    def end(self) -> None:
        """Kill all that runs there, at once."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._process.communicate()


class Host:
    """One host; `Hosts` makes it."""

    def __init__(self, name: str, number: int, folder: Path, switch: _Namespaces, *, shared: bool) -> None:
        self.name, self.address = name, f"{NETWORK}.{number}"
        self.data, self.shared, self.home, self.scratch = (
            folder / part for part in ("data", "shared", "home", "scratch")
        )
        """Paths as they are on the host."""
        self._folder, self._disk, self._number = folder, folder / name, number
        self._switch, self._starts, self._programs = switch, 0, 0
        self._inside: _Namespaces | None = None
        for part in ("data", "shared", "home", "scratch", "logs"):
            (self._disk / part).mkdir(parents=True)
        self._together = folder / "shared" if shared else self._disk / "shared"
        self.home_outside = self._disk / "home"
        """The home, as the tests see it."""

    @property
    def up(self) -> bool:
        """Whether it is switched on."""
        return self._inside is not None

    @property
    def environment(self) -> dict[str, str]:
        """What a program there finds in its environment, unless it is told otherwise: nothing of a Ray outside."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(OTHERS)}
        scratch = str(self.scratch)
        return kept | {"HOME": str(self.home), "HOSTNAME": self.name, "TMPDIR": scratch, "PYTHONUNBUFFERED": "1"}

    def switch_on(self) -> None:
        """Start it, with an empty memory and the files that it had."""
        assert not self.up, f"{self.name} is on"
        kinds = ["--net", "--mount", "--uts", "--ipc", "--mount-proc"]
        setup = ["sh", "-ec", SETUP, "setup", self.name, self._disk, self._together, self._folder]
        self._inside = _Namespaces(kinds, [*map(str, setup)])
        self._starts += 1  # a card of an earlier start is on its way out, and its name is taken until then
        card = f"name {CARD} netns {self._inside.pid}"
        _ip(self._switch, f"link add {self._port} type veth peer {card}", f"link set {self._port} master switch up")
        _ip(self._inside, f"addr add {self.address}/24 dev {CARD}", f"link set {CARD} up")

    def kill(self) -> None:
        """Kill all that runs there, at once; the kernel still says goodbye to the other ends of its connections.

        After `disconnect` it cannot, as when the power fails: the others find out by waiting.
        """
        assert self._inside is not None, f"{self.name} is off"
        self._inside.end()
        self._inside = None

    def restart(self) -> None:
        """Switch it off, if it is on, and on."""
        if self.up:
            self.kill()
        self.switch_on()

    def disconnect(self) -> None:
        """Pull its cable."""
        _ip(self._switch, f"link set {self._port} down")

    def reconnect(self) -> None:
        """Put the cable back."""
        _ip(self._switch, f"link set {self._port} up")

    def enter(self, folder: Path | None = None) -> list[str]:
        """What to put before a program and its arguments so that it runs there, in its home or in another folder."""
        assert self._inside is not None, f"{self.name} is off"
        kinds = ["--net", "--mount", "--uts", "--ipc", "--pid"]
        # Ctrl-C is for the program: nsenter waits for it and passes its status on.
        nsenter = ["env", "--ignore-signal=INT", "nsenter", f"--target={self._inside.pid}", *kinds, "--"]
        return [*nsenter, "env", "--default-signal=INT", f"--chdir={folder or self.home}"]

    def start(self, *program: str, folder: Path | None = None, **environment: str) -> Process:
        """Start a program there; its output goes to files outside."""
        self._programs += 1
        log = self._disk / "logs" / f"{self._programs}-{Path(program[0]).name}"
        return Process([*self.enter(folder), *program], Path.cwd(), log, self.environment | environment)

    def run(self, *program: str, status: int = 0, folder: Path | None = None, **environment: str) -> Process:
        """Run a program there until nothing is left of it; `status` is how it has to end."""
        with self.start(*program, folder=folder, **environment) as process:
            assert process.ended() == status, f"{program} on {self.name}\n{process.output}\n{process.errors}"
        return process

    def python(self, code: str, *arguments: str, status: int = 0, **environment: str) -> str:
        """What a program in Python prints there."""
        return self.run(sys.executable, "-c", code, *arguments, status=status, **environment).output

    def running(self, title: str = "") -> list[psutil.Process]:
        """The processes there, by a title that begins so."""
        assert self._inside is not None, f"{self.name} is off"
        here, found = _pid_namespace(self._inside.pid), list[psutil.Process]()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):  # it ended since it was listed, or is none of ours
                if _pid_namespace(process.pid) == here and " ".join(process.cmdline()).startswith(title):
                    found.append(process)
        return found

    @property
    def _port(self) -> str:
        """Its end of the cable, at the switch."""
        return f"port{self._number}-{self._starts}"


class Hosts(Sequence[Host]):
    """Hosts of these names on one switch; leaving the block switches them off and removes their files."""

    def __init__(self, *names: str) -> None:
        clear()
        self._switch = _Namespaces(["--net"])
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir="/tmp"))
        self.shared = self.folder / "shared"
        """The folder that the hosts have in common, at the same path here as there."""
        self.shared.mkdir()
        self._names, self._hosts = names, list[Host]()

    def __enter__(self) -> Self:
        try:
            _ip(self._switch, "link add switch type bridge", "link set switch up")
            for name in self._names:
                self.add(name)
        except BaseException:
            self.close()
            raise
        return self

    def add(self, name: str, *, shared: bool = True) -> Host:
        """One more host, which the others know at once; its `shared` may be a folder that it shares with nobody."""
        host = Host(name, len(self) + 1, self.folder, self._switch, shared=shared)
        self._hosts.append(host)
        known = ["127.0.0.1 localhost", *(f"{other.address} {other.name}" for other in self)]
        for other in self:
            (self.folder / other.name / "hosts").write_text("\n".join([*known, ""]))  # in place: it is mounted
        host.switch_on()
        return host

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all of it; in any state, and also twice."""
        for host in self._hosts:
            if host.up:
                host.kill()
        self._switch.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __getitem__(self, index: int) -> Host:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._hosts[index]

    def __len__(self) -> int:
        return len(self._hosts)

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts)


def clear() -> None:
    """Remove what processes of tests that were killed have left."""
    for folder in Path("/tmp").glob(f"{PREFIX}[0-9]*-*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def missing() -> str | None:
    """What this machine does not offer, in a sentence; None where hosts have to work."""
    if not sys.platform.startswith("linux"):
        return "Hosts are made of Linux namespaces, and this is no Linux."
    status = Path("/proc/self/status").read_text()
    (effective,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    if effective & CAPABILITIES != CAPABILITIES:
        return "Hosts are made of Linux namespaces, which only root may set up (CAP_SYS_ADMIN and CAP_NET_ADMIN)."
    if packages := sorted({package for program, package in NEEDED.items() if shutil.which(program) is None}):
        return f"Hosts are made by programs that are not installed: apt-get install {' '.join(packages)}"
    return None


def broken() -> str | None:
    """What goes wrong here when a host is made; None where hosts work."""
    try:
        with Hosts("trial"):
            return None
    except (HostsRefused, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return f"Namespaces are not allowed here: {str(said).strip()}"


def _ip(where: _Namespaces, *commands: str) -> None:
    """Run commands of iproute2 in a network."""
    subprocess.run(
        ["nsenter", f"--target={where.pid}", "--net", "ip", "-batch", "-"],
        input="\n".join(commands),
        check=True,
        capture_output=True,
        text=True,
    )


def _pid_namespace(pid: int) -> int:
    return os.stat(f"/proc/{pid}/ns/pid").st_ino
