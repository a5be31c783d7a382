"""Write docs/help.md from the command line's own help: ``python -m docs.make_help``."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from calibrate.cli import app
from headrouter_core.basics.writing import write

_COMMANDS = ("", "calibrate", "inspect", "prune", "evaluate", "report", "plan", "push", "families")
#: Width of the help, whatever terminal it is made on.
_COLUMNS = "88"


def document() -> str:
    """Return the text of docs/help.md."""
    parts = ["# Command line", "", "Written by `python -m docs.make_help`; do not edit.", ""]
    for command in _COMMANDS:
        arguments = [*command.split(), "--help"]
        done = CliRunner().invoke(
            app, arguments, prog_name="headrouter", env={"COLUMNS": _COLUMNS}, color=False
        )
        text = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
        title = " ".join(["headrouter", *command.split()])
        parts += [f"## `{title}`", "", f"```\n{text}\n```", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    write(Path(__file__).with_name("help.md"), document().encode(), force=True)
