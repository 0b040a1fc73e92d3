"""PostgreSQL for MLflow. It has no port: it listens at a socket in a folder, and the kernel tells it who calls."""

import getpass
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from packages import program
from service import Service

from ndm.errors import UserError

DATABASES = ("mlflow", "mlflow_auth")
ROLE = "mlflow"
DEBIANS = "postgres"  # PostgreSQL refuses to run as root
CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{socket}'
unix_socket_permissions = 0777
fsync = on
"""
"""The folder around the socket says who comes near; `peer` says who comes in."""


def address(socket: Path, database: str) -> str:
    """For SQLAlchemy; there is no password."""
    return f"postgresql+psycopg://{ROLE}@/{database}?host={socket}"


class Postgres(Service):
    """The server, and MLflow's two empty databases in it."""

    name = "postgres"
    farewell = signal.SIGINT  # connections are ended, not waited for

    @property
    def user(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return DEBIANS if os.geteuid() == 0 else None

    @property
    def socket(self) -> Path:
        """The folder of the socket."""
        return self.state.temp / "postgres"

    def make(self) -> None:
        self._give(self.folder)
        database = self.folder / "database"
        # The machine's superuser of the database has the name of the user that it runs as.
        arguments = ["--auth=peer", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
        self._run("initdb", *arguments, f"--username={ROLE}_owner", f"--pgdata={database}")
        (database / "pg_hba.conf").write_text("local all all peer map=cluster\n")
        mine, its = getpass.getuser(), self.user or getpass.getuser()
        lines = [f"cluster {mine} {ROLE}", f"cluster {its} {ROLE}_owner"]
        (database / "pg_ident.conf").write_text("\n".join([*lines, ""]))

    def before(self) -> None:
        self.socket.mkdir(mode=0o700, exist_ok=True)
        self._give(self.socket)
        settings = CONFIGURATION.format(socket=self.socket)
        (self.folder / "database" / "postgresql.auto.conf").write_text(settings)

    def command(self) -> list[str]:
        return [program("postgres"), "-D", str(self.folder / "database")]

    def answers(self) -> bool:
        return self._can(DATABASES[0]) or self._can("postgres", f"{ROLE}_owner")

    def after(self) -> None:
        if all(self._can(database) for database in DATABASES):
            return
        owner = (f"--host={self.socket}", f"--username={ROLE}_owner")
        self._run("createuser", *owner, "--no-superuser", ROLE, already="already exists")
        for database in DATABASES:
            self._run("createdb", *owner, f"--owner={ROLE}", database, already="already exists")

    def _can(self, database: str, role: str = ROLE) -> bool:
        """Whether the role gets an answer from the database."""
        import psycopg

        if role != ROLE and self.user:  # root is not let in as the owner
            return (self.socket / ".s.PGSQL.5432").exists() and self._ready()
        try:
            with psycopg.connect(host=str(self.socket), dbname=database, user=role, connect_timeout=5) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def _ready(self) -> bool:
        """Whether it takes connections, of whomever."""
        ready = Path(program("initdb")).with_name("pg_isready")
        return subprocess.run([str(ready), "-q", "-h", str(self.socket)], check=False).returncode == 0

    def _run(self, name: str, *arguments: str, already: str | None = None) -> None:
        """Run one of PostgreSQL's programs as the server's user; it may say that all is done `already`."""
        as_user = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        command = [program(name), *arguments]
        done = subprocess.run(
            command, env=self.surroundings(), cwd="/", capture_output=True, text=True, check=False, **as_user
        )
        with self.log.open("a") as log:
            log.write(done.stdout + done.stderr)
        if done.returncode and not (already and already in done.stderr):
            raise UserError(f"{name} failed: see the end of {self.log}.")

    def _give(self, folder: Path) -> None:
        """Make the server's user the owner."""
        if self.user:
            shutil.chown(folder, self.user, self.user)

    def check(self) -> None:
        """See that the server's user can come to its folder.

        Raises:
            UserError: a folder above it keeps others out.
        """
        if not self.user:
            return
        user = pwd.getpwnam(self.user)
        for above in reversed(self.folder.parents):
            if not above.exists():
                return  # it will be made
            about = above.stat()
            bit = 0o100 if about.st_uid == user.pw_uid else 0o010 if about.st_gid == user.pw_gid else 0o001
            if not about.st_mode & bit:
                raise UserError(
                    f"PostgreSQL runs as user {self.user}, as it refuses root, and {above} keeps that user out: "
                    "choose another --folder."
                )
