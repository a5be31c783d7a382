"""A process that starts ``headrouter calibrate`` again and again, and kills it with -9.

Each start is a fork: it has what was imported, and nothing else, of those before it.

    python -m tests.calibrate.estimation.killed SEED MOST OPTION...

Starts until one ends by itself, at most MOST times, and prints a JSON line of each: the seconds it
was let live (null: to its end), its exit code, and lines in the journal before and after.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from calibrate.estimation import calibration, command, journaling  # noqa: F401  # what is slow
from calibrate.models import named  # noqa: F401


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def start(options):
    """Run the command in a child, and return its process id."""
    child = os.fork()
    if child == 0:
        from calibrate.cli import main

        sys.argv = ["headrouter", "calibrate", *options]
        code = 1
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return child


def ended(child, seconds):
    """Wait for a child so long, then kill it; return its exit code."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG if deadline else 0)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.002)


def run(seed, most, options):
    """Kill it at random moments of a life that gets longer, and let it end at last."""
    drawn = random.Random(seed)
    journal = journaling.path_of(Path(options[options.index("--output") + 1]))
    life = 1.0
    for number in range(most):
        seconds = None if number == most - 1 else drawn.uniform(0, life)
        before = lines(journal)
        code = ended(start(options), seconds)
        after = lines(journal)
        told = {"seconds": seconds, "code": code, "before": before, "after": after}
        print(json.dumps(told), flush=True)
        if code != -signal.SIGKILL:
            return
        life *= 1.0 if after > before else 1.5


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
