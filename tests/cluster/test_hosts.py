"""The hosts of the other tests are hosts: apart in files, processes and memory, with a cable that can be pulled."""

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import hosts as namespaces
import psutil
import pytest
from hosts import Hosts
from object_store import ObjectStore
from processes import LONG

REACHES = "import socket, sys; socket.create_connection((sys.argv[1], 7000), timeout=float(sys.argv[2])); print('yes')"
LISTENS = "import socket; s = socket.create_server(('', 7000)); print('listening')\nwhile True: s.accept()"


def test_hosts_know_each_other_by_name_and_have_no_way_out(hosts: Hosts) -> None:
    for host in hosts:
        assert host.run("hostname").output == f"{host.name}\n"
        for other in hosts:
            assert host.run("getent", "ahostsv4", other.name).output.startswith(other.address)
        assert host.run("ip", "route", "show", "default").output == ""
    assert socket.gethostname() not in [host.name for host in hosts]


def test_a_folder_is_private_and_another_is_shared(hosts: Hosts) -> None:
    ada, bea, _ = hosts
    assert ada.data == bea.data
    for folder in (ada.data, ada.home, ada.scratch, Path("/dev/shm")):
        ada.run("sh", "-c", 'echo of ada > "$0/file"', str(folder))
        bea.run("cat", str(folder / "file"), status=1)
    ada.run("sh", "-c", 'echo of all > "$0/file"', str(ada.shared))
    assert bea.run("cat", str(bea.shared / "file")).output == (hosts.shared / "file").read_text() == "of all\n"
    assert bea.run("ls", str(hosts.folder)).output.split() == ["data", "home", "hosts", "logs", "scratch", "shared"]


def test_a_program_has_the_environment_of_its_host(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere")
    said = hosts[0].run("env", COLOUR="blue").output.splitlines()
    assert {f"HOME={hosts[0].home}", "COLOUR=blue", "HOSTNAME=ada"} <= {*said}
    assert not [line for line in said if line.startswith("RAY_")]


def test_a_signal_and_a_status_are_those_of_the_program(hosts: Hosts) -> None:
    waits = "import time\ntry:\n print('here'); time.sleep(600)\nexcept KeyboardInterrupt:\n raise SystemExit(7)"
    with hosts[0].start(sys.executable, "-c", waits) as program:
        program.until(lambda: program.output)
        program.interrupt()
        assert program.ended() == 7
    with hosts[0].start("sleep", "600") as program:
        program.until(lambda: hosts[0].running("sleep"))
        program.kill()
        assert hosts[0].running("sleep") == []


def test_a_pulled_cable_can_be_put_back(hosts: Hosts) -> None:
    ada, bea, _ = hosts
    with bea.start(sys.executable, "-c", LISTENS) as server:
        server.until(lambda: server.output)
        assert ada.python(REACHES, "bea", "5") == "yes\n"
        bea.disconnect()
        ada.python(REACHES, "bea", "0.5", status=1)
        assert server.process.poll() is None
        assert bea.python(REACHES, "bea", "5") == "yes\n"
        bea.reconnect()
        assert ada.python(REACHES, "bea", "5") == "yes\n"


def test_a_killed_host_loses_its_programs_and_memory_and_keeps_its_files(hosts: Hosts) -> None:
    ada, _, cleo = hosts
    escaped = cleo.start("sh", "-c", "setsid sleep 600 & setsid sleep 600")
    escaped.until(lambda: len(cleo.running("sleep")) == 2)
    sleeping = cleo.running("sleep")
    for folder in (cleo.data, Path("/dev/shm")):
        cleo.run("touch", str(folder / "kept"))
    cleo.kill()
    assert escaped.process.wait(LONG) == -signal.SIGKILL
    assert psutil.wait_procs(sleeping, timeout=LONG)[1] == []
    assert not cleo.up
    cleo.restart()
    cleo.run("test", "-e", str(cleo.data / "kept"))
    cleo.run("test", "-e", "/dev/shm/kept", status=1)
    assert cleo.running("sleep") == []
    with cleo.start(sys.executable, "-c", LISTENS) as server:
        server.until(lambda: server.output)
        assert ada.python(REACHES, "cleo", "5") == "yes\n"


FOREVER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from hosts import Hosts
hosts = Hosts("ada", "bea").__enter__()
program = hosts[0].start("sleep", "600")
program.until(lambda: hosts[0].running("sleep"))
print(hosts.folder, flush=True)
time.sleep(600)
"""


def test_nothing_is_left_of_tests_that_are_killed(possible: None) -> None:
    program = [sys.executable, "-c", FOREVER, str(Path(__file__).parents[1])]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as tests:
        try:
            assert tests.stdout is not None
            folder = Path(tests.stdout.readline().strip())
            started = psutil.Process(tests.pid).children(recursive=True)
            namespaces.clear()
            assert folder.is_dir()  # it is in use
            outside = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True)
            assert "switch" not in outside.stdout  # the machine's own network is as it was
        finally:
            tests.kill()
    assert len(started) > 6  # two for the switch and for each host, and the program
    assert psutil.wait_procs(started, timeout=LONG)[1] == []
    namespaces.clear()
    assert not folder.exists()


def test_what_is_missing_is_said(possible: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for program in namespaces.NEEDED:
        if program != "ip":
            (tmp_path / program).symlink_to(shutil.which(program) or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert namespaces.missing() == "Hosts are made by programs that are not installed: apt-get install iproute2"
    monkeypatch.undo()
    monkeypatch.setattr(namespaces, "CAPABILITIES", 1 << 60)
    assert "only root" in (namespaces.missing() or "")


PUT = """
import boto3, sys
store = boto3.client("s3")
store.create_bucket(Bucket="of-all")
store.put_object(Bucket="of-all", Key="key", Body=sys.argv[1].encode())
"""
GET = "import boto3; print(boto3.client('s3').get_object(Bucket='of-all', Key='key')['Body'].read().decode())"


def test_a_host_that_comes_later_is_known_and_need_share_no_folder(hosts: Hosts) -> None:
    late = hosts.add("late", shared=False)
    (hosts.shared / "here").touch()
    late.run("test", "-e", str(late.shared / "here"), status=1)
    assert hosts[0].run("getent", "ahostsv4", "late").output.startswith(late.address)
    with ObjectStore(late) as store:
        hosts[0].python(PUT, "found", **store.client)
        assert hosts[1].python(GET, **store.client) == "found\n"
