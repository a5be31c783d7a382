"""``python -m tests.fuzz``: damage many files, read them, and say how that went."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .campaign import run
from .targets import TARGETS


def main() -> int:
    """Run the campaigns; return 1 if anything was at fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    names = [target.name for target in TARGETS]
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(names)}")
    parser.add_argument("--tries", type=int, default=20_000, help="files a target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(".work/fuzz"), help="for files at fault")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(names):
        parser.error(f"no target is called {sorted(unknown)[0]}; there are {', '.join(names)}")
    faults = 0
    print("| target | tries | read | refused | at fault | slowest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for target in TARGETS:
        if options.targets and target.name not in options.targets:
            continue
        folder = options.keep / target.name
        folder.mkdir(parents=True, exist_ok=True)
        report = run(target, seed=options.seed, tries=options.tries, keep=folder)
        found = report.faults.total()
        counts = (report.tries, report.accepted, report.refused, found)
        print(
            f"| {target.name} | {' | '.join(f'{count:,}' for count in counts)} |"
            f" {report.slowest:.1f} s |",
            flush=True,
        )
        for kind, times in report.faults.most_common():
            print(f"  {times} x {kind}", file=sys.stderr)
        faults += found
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
