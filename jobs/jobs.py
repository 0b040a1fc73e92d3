"""The jobs of a cluster: list them, look at one, follow what it says, wait for its end, or stop it.

ndm jobs list
ndm jobs status | logs [-f] | wait | stop JOB
The cluster is --address https://head:8265, or RAY_ADDRESS.
"""

import argparse
import sys

from ndm import environment
from ndm.cli import guarded


def main() -> int:
    parser = argparse.ArgumentParser("ndm jobs", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=["list", "status", "logs", "wait", "stop"])
    parser.add_argument("job", nargs="?", metavar="JOB")
    parser.add_argument("-f", "--follow", action="store_true", help="with logs: until the job ends")
    parser.add_argument("--address", help="of the cluster's job server; by default RAY_ADDRESS")
    parser.add_argument("--allow-clear-text", action="store_true", help="over http:// to another machine")
    parser.add_argument("--allow-no-token", action="store_true", help="where the cluster asks for none")
    options = parser.parse_intermixed_args()

    from ndm.errors import UserError
    from ndm.runtime import jobs
    from ndm.terminal import Terminal

    address, terminal = options.address or environment.job_server(), Terminal()
    if address is None:
        raise UserError("Give the cluster as --address https://head:8265, or set RAY_ADDRESS to that.")
    jobs.check(address, clear_text=options.allow_clear_text, no_token=options.allow_no_token)
    client = jobs.connect(address)
    if options.action == "list":
        terminal.table(
            [(job.submission_id or "", jobs.line(job)) for job in jobs.known(client, address)] or [("none", "yet")]
        )
        return 0
    if options.job is None:
        raise UserError(f"ndm jobs {options.action} takes the name of a job; ndm jobs list shows them.")
    job = jobs.details(client, address, options.job)
    match options.action:
        case "status":
            about = sorted((job.metadata or {}).items())
            terminal.table([("job", jobs.line(job)), *((key, str(value)) for key, value in about if key != "command")])
            return 0
        case "logs":
            if options.follow:
                return jobs.attend(client, address, options.job) or 0
            with jobs.answering(address):
                print(client.get_job_logs(options.job), end="")
            return 0
        case "wait":
            return jobs.wait(client, address, options.job)
        case _:
            with jobs.answering(address):
                client.stop_job(options.job)
            terminal.say(f"{options.job} was asked to stop; it saves a checkpoint first.")
            jobs.wait(client, address, options.job)
            terminal.say(f"{options.job} has ended; the same command goes on from there.")
            return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
