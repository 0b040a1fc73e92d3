"""Wait until a Ray cluster has so many nodes: `wait_for_nodes.py HOST:PORT NODES SECONDS`.

Ends with status 1 and a sentence on standard error when the time is up.
"""

import logging
import sys
import time

import ray

BETWEEN_LOOKS = 0.5  # seconds


def alive() -> list[str]:
    """Names of the machines whose nodes the head takes for alive."""
    return sorted(node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"])


def main(address: str, nodes: int, seconds: float) -> int:
    end = time.monotonic() + seconds
    while not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, RuntimeError) as error:  # the head is still starting
            if time.monotonic() > end:
                print(f"Ray's head at {address} did not answer within {seconds:g} s: {error}", file=sys.stderr)
                return 1
            time.sleep(BETWEEN_LOOKS)
    while len(joined := alive()) < nodes:
        if time.monotonic() > end:
            here = ", ".join(joined)
            print(f"Only {len(joined)} of {nodes} nodes joined within {seconds:g} s: {here}.", file=sys.stderr)
            return 1
        time.sleep(BETWEEN_LOOKS)
    print(f"{nodes} nodes: {', '.join(joined)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
