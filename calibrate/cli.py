"""The command line: ``headrouter calibrate``, ``evaluate``, ``prune`` and what belongs to them.

Here is only what ``--help`` and ``--version`` need. Commands import what they need when they run.
"""

from __future__ import annotations

import runpy
from importlib import metadata, util
from pathlib import Path
from typing import Annotated

import typer

from calibrate.commands.calibrate import calibrate
from calibrate.commands.evaluate import evaluate
from calibrate.commands.families import families
from calibrate.commands.inspect import inspect
from calibrate.commands.plan import plan
from calibrate.commands.prune import prune
from calibrate.commands.report import report
from calibrate.terminal.exits import SETTINGS, guarded
from calibrate.terminal.process import run

app = typer.Typer(
    name="headrouter",
    help="Prune audio tokens in large audio-language models; calibrate which heads decide.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 profile, 4 some inputs of many failed,"
    " 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (calibrate, inspect, prune, evaluate, report, plan, families):
    app.command()(guarded(command, models=command in (calibrate, prune, evaluate, plan)))


def _show_version(wanted: bool) -> None:
    if wanted:
        # the file alone: importing the package would import torch
        core = util.find_spec("headrouter_core")
        assert core is not None
        assert core.origin is not None
        version = runpy.run_path(str(Path(core.origin).with_name("_version.py")))["__version__"]
        libraries = [f"{name} {metadata.version(name)}" for name in ("torch", "transformers")]
        typer.echo(f"headrouter {version} ({', '.join(libraries)})")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Prune audio tokens in large audio-language models; calibrate which heads decide."""
    SETTINGS.debug = debug
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line, and end the process."""
    run(app)
