"""An S3 store of one disk: Ceph's gateway with the three daemons that it needs, which know each other by keys.

All of them listen on loopback alone; the data is a sparse file that grows up to half of the disk that was free.
"""

import json
import shutil
import subprocess
import uuid
from pathlib import Path

from packages import program
from service import Service, status_of
from state import LOOPBACK

from ndm.errors import UserError

GATEWAY, MONITOR, FIRST_MESSENGER, LAST_MESSENGER = 2, 10, 11, 39
"""Ports of the cluster. The last two are the ends of a range: the daemons choose."""
MOST_BYTES = 1 << 40
USER = "ndm"

KEYS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "mgr.a": {"mon": "allow profile mgr", "osd": "allow *"},
    "osd.0": {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"},
    "client.rgw.a": {"mon": "allow rw", "mgr": "allow rw", "osd": "allow rwx"},
}
"""Who -> what the key is good for."""

CONFIGURATION = """[global]
fsid = {fsid}
mon_host = [v1:{loopback}:{monitor}]
ms_bind_msgr2 = false
ms_bind_port_min = {first}
ms_bind_port_max = {last}
public_addr = {loopback}
cluster_addr = {loopback}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data = {data}/ceph-mon/store
mgr_data = {data}/ceph-mgr
osd_data = {data}/ceph-osd/store
bluestore_block_size = {bytes}
bluestore_block_create = true
osd_memory_target = 1073741824
run_dir = {sockets}
admin_socket = {sockets}/$name.asok
log_file = {logs}/$name.log
keyring = {data}/ceph-mon/keyring
[client.rgw.a]
rgw_frontends = beast endpoint={loopback}:{gateway}
rgw_data = {data}/ceph-gateway
"""


class Daemon(Service):
    """One of the four."""

    @property
    def configuration(self) -> Path:
        return self.state.data / "ceph-mon" / "ceph.conf"

    def environment(self) -> dict[str, str]:
        return {"CEPH_CONF": str(self.configuration)}

    def ceph(self, name: str, *arguments: str) -> str:
        """What one of Ceph's programs prints.

        Raises:
            UserError: it fails.
        """
        done = self._run(name, *arguments)
        if done.returncode:
            with self.log.open("a") as log:
                log.write(done.stderr)
            raise UserError(f"{name} failed: see the end of {self.log}.")
        return done.stdout

    def asks(self, *arguments: str) -> str:
        """What `ceph` answers; nothing if it cannot."""
        return self._run("ceph", "--connect-timeout=5", *arguments).stdout

    def _run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program(name), *arguments], env=self.surroundings(), capture_output=True, text=True, check=False
        )


class Monitor(Daemon):
    """It knows who belongs to the store."""

    name = "ceph-mon"

    def make(self) -> None:
        fsid, keyring, places = str(uuid.uuid4()), self.folder / "keyring", self.folder / "monmap"
        (self.folder / "fsid").write_text(fsid)
        (self.folder / "bytes").write_text(str(min(MOST_BYTES, shutil.disk_usage(self.folder).free // 2)))
        self.before()
        for number, (who, allowed) in enumerate(KEYS.items()):
            caps = [part for kind, cap in allowed.items() for part in ("--cap", kind, cap)]
            create = ["--create-keyring"] * (number == 0)
            self.ceph("ceph-authtool", str(keyring), *create, "--gen-key", "-n", who, *caps)
        keyring.chmod(0o600)
        here = f"[v1:{LOOPBACK}:{self.state.port(MONITOR)}]"
        self.ceph("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", here, str(places))
        self.ceph("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(places), "--keyring", str(keyring))

    def before(self) -> None:
        sockets = self.state.temp / "ceph"
        sockets.mkdir(mode=0o700, exist_ok=True)
        text = CONFIGURATION.format(
            fsid=(self.folder / "fsid").read_text(),
            bytes=(self.folder / "bytes").read_text(),
            loopback=LOOPBACK,
            monitor=self.state.port(MONITOR),
            first=self.state.port(FIRST_MESSENGER),
            last=self.state.port(LAST_MESSENGER),
            gateway=self.state.port(GATEWAY),
            data=self.state.data,
            logs=self.state.logs,
            sockets=sockets,
        )
        self.configuration.write_text(text)

    def command(self) -> list[str]:
        return [program("ceph-mon"), "-i", "a", "-f"]

    def answers(self) -> bool:
        return "quorum" in self.asks("mon", "stat")


class Manager(Daemon):
    """It counts what the others do; without it the store does not tell its state."""

    name = "ceph-mgr"

    def command(self) -> list[str]:
        return [program("ceph-mgr"), "-i", "a", "-f"]

    def answers(self) -> bool:
        return '"available": true' in self.asks("mgr", "dump")


class Disk(Daemon):
    """It holds the data."""

    name = "ceph-osd"

    def make(self) -> None:
        (self.folder / "store").mkdir()
        identity = str(uuid.uuid4())
        number = self.asks("osd", "ls").split()
        if number:  # a command was killed after it had announced the disk, and before it made it
            self.ceph("ceph", "osd", "purge", "0", "--yes-i-really-mean-it")
            self.ceph("ceph", "auth", "import", "-i", str(self.state.data / "ceph-mon" / "keyring"))
        self.ceph("ceph", "osd", "new", identity, "0")
        self.ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)

    def command(self) -> list[str]:
        return [program("ceph-osd"), "-i", "0", "-f"]

    def answers(self) -> bool:
        return "1 up" in self.asks("osd", "stat")


class Gateway(Daemon):
    """It speaks S3."""

    name = "ceph-gateway"

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.state.port(GATEWAY)}"

    def command(self) -> list[str]:
        return [program("radosgw"), "-n", "client.rgw.a", "-f"]

    def answers(self) -> bool:
        return status_of(self.address) == 200

    def keys(self) -> tuple[str, str]:
        """The access key and the secret of the store's only user, which Ceph chooses at the first call."""
        known = self._run("radosgw-admin", "user", "info", f"--uid={USER}")
        text = known.stdout
        if known.returncode:
            text = self.ceph("radosgw-admin", "user", "create", f"--uid={USER}", f"--display-name={USER}")
        (pair,) = json.loads(text)["keys"]
        return pair["access_key"], pair["secret_key"]
