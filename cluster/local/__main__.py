"""A cluster on this machine: Ray with a head and nodes, MLflow with PostgreSQL, and an S3 store; all on loopback.

up starts what is not running and keeps all data; status says what is up; down stops all of it and keeps the data,
or removes it with --delete; upgrade brings MLflow's database to the installed version of MLflow.
"""

import argparse
import os
import sys
from pathlib import Path

import client
import packages
import store
from ceph import Disk, Gateway, Manager, Monitor
from nodes import Node
from postgres import Postgres
from service import Service
from state import State
from tracking import Tracking

from ndm.cli import guarded
from ndm.errors import UserError

FOLDER = Path("runs") / ".cluster"


def services(state: State) -> list[Service]:
    """All of the cluster, in the order in which they are started."""
    ceph = [] if state.settings.endpoint else [Monitor(state), Manager(state), Disk(state), Gateway(state)]
    nodes = [Node(state, number) for number in range(state.settings.nodes + 1)]
    return [*ceph, Postgres(state), Tracking(state), *nodes]


def up(state: State, options: argparse.Namespace) -> int:
    """Start what does not work."""
    asked = {name: getattr(options, name) for name in ("nodes", "cpus", "endpoint", "port")}
    own_store = not (state.settings.endpoint if state.made else options.endpoint)
    packages.require(packages.POSTGRES | (packages.CEPH if own_store else {}), install=options.install)
    Postgres(state).check()
    state.make(asked)
    started: list[str] = []
    for service in services(state):
        if service.name == Tracking.name:
            store.prepare(state)
        if service.follows in started or not service.works():
            print(f"starting {service.name}", flush=True)
            service.start()
            started.append(service.name)
        service.after()
    client.write(state)
    print("The cluster is up." if started else "The cluster was up already.")
    print(f"  dashboard   {Node(state).address}")
    print(f"  MLflow      {Tracking(state).address}")
    print(f"  S3 store    {store.endpoint(state)}")
    print(f"This makes a shell a client of it: source {_near(state.folder / 'client.env')}")
    return 0


def status(state: State, options: argparse.Namespace) -> int:
    """Say what is up; 1 if anything is not."""
    del options
    if not state.made:
        print(f"There is no cluster in {_near(state.folder)}.")
        return 1
    working = {service: service.works() for service in services(state)}
    for service, works in working.items():
        pid = service.process.pid
        word = "up" if works else "down" if pid is None else "not answering"
        print(f"{service.name:<14}{word:<15}{f'pid {pid}' if pid else '':<14}{service.address}".rstrip())
    return 0 if all(working.values()) else 1


def down(state: State, options: argparse.Namespace) -> int:
    """Stop all, last started first."""
    if not state.made:
        print(f"There is no cluster in {_near(state.folder)}.")
        return 0
    for service in reversed(services(state)):
        if service.stop():
            print(f"stopped {service.name}", flush=True)
    if options.delete:
        what = "runs, tokens and keys" + (
            "; the buckets at the store are yours and stay" if state.settings.endpoint else " and the S3 store"
        )
        print(f"Removing {state.folder}: MLflow's database, {what}.")
        state.delete()
    else:
        print(f"The cluster is down. Its data stays in {_near(state.folder)}; down --delete removes it.")
    return 0


def upgrade(state: State, options: argparse.Namespace) -> int:
    """Stop MLflow, upgrade its database and start it again."""
    del options
    if not state.made or not Postgres(state).works():
        raise UserError("MLflow's database is down: bring the cluster up first.")
    tracking = Tracking(state)
    tracking.stop()
    tracking.upgrade()
    tracking.start()
    print("MLflow's database is what this version of MLflow needs.")
    return 0


def _near(path: Path) -> str:
    """As short as it can be said from here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def main() -> None:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser("python cluster/local", description=__doc__, formatter_class=form)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in (up, status, down, upgrade):
        sub = verbs.add_parser(verb.__name__, description=verb.__doc__, help=verb.__doc__)
        sub.set_defaults(verb=verb)
        sub.add_argument("--folder", type=Path, default=FOLDER, help=f"all of the cluster, default: {FOLDER}")
        if verb is up:
            sub.add_argument("--nodes", type=int, help="of Ray beside the head, default: 1")
            sub.add_argument("--cpus", type=int, help="of the head and of each node, default: the machine's, divided")
            sub.add_argument("--endpoint", help="an S3 store that you have, default: one is started (Ceph)")
            sub.add_argument("--port", type=int, help="the first of the ports in a row, default: free ones")
            sub.add_argument("--install", action="store_true", help="install missing Debian packages; needs root")
        if verb is down:
            sub.add_argument("--delete", action="store_true", help="remove all data of the cluster, too")
    options = parser.parse_args()
    if not sys.platform.startswith("linux"):
        raise UserError("The local cluster is made for Linux: on another system, train with ndm train, without it.")
    state = State(options.folder)
    if not state.made and options.verb is not up:
        sys.exit(options.verb(state, options))
    with state.lock():
        sys.exit(options.verb(state, options))


if __name__ == "__main__":
    sys.exit(guarded(main))
