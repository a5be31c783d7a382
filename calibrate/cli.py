"""The command line: ``headrouter calibrate``, ``evaluate``, ``prune`` and what belongs to them.

Here is only what ``--help`` and ``--version`` need. Commands import what they need when they run.
"""

from __future__ import annotations

import runpy
from importlib import metadata, util
from pathlib import Path
from typing import Annotated

import typer

from calibrate.commands.calibrate import Calibrate
from calibrate.commands.evaluate import Evaluate
from calibrate.commands.families import Families
from calibrate.commands.inspect import Inspect
from calibrate.commands.options import spread_out
from calibrate.commands.plan import Plan
from calibrate.commands.prune import Prune
from calibrate.commands.push import Push
from calibrate.commands.report import Report
from calibrate.commands.reproduce import Reproduce
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


def calibrate(request: Calibrate) -> None:
    """Estimate a model's profile from about ten samples a category."""
    from calibrate.estimation import command
    from calibrate.evaluation.datasets.development import development_samples

    command.run(request, development_samples)


def inspect(request: Inspect) -> None:
    """Show what a profile holds and how it came about."""
    from calibrate.inspection import contents

    contents.run(request)


def prune(request: Prune) -> None:
    """Ask a question with most audio tokens removed, and without."""
    from calibrate.pruning import command

    command.run(request)


def evaluate(request: Evaluate) -> None:
    """Compare methods on questions with known answers; killed, it goes on where it was."""
    from calibrate.evaluation import command

    command.run(request)


def report(request: Report) -> None:
    """Make one page of an evaluation: tables, plots and examples to listen to."""
    from calibrate.evaluation.showing.report import command

    command.run(request)


def reproduce(request: Reproduce) -> None:
    """Make the paper's tables and figures on the sets that you have, its numbers beside ours."""
    from calibrate.reproduction import command

    command.run(request)


def plan(request: Plan) -> None:
    """Say what a model will hear, and what it costs, before any weights are loaded."""
    from calibrate.planning import command

    command.run(request)


def push(request: Push) -> None:
    """Put a profile on the Hugging Face Hub, with a card that says what it is worth."""
    from calibrate.sharing import command

    command.run(request)


def families(request: Families) -> None:
    """List the models that can be pruned, and what is known of each."""
    from calibrate.inspection import family_list

    family_list.run(request)


for asked in (calibrate, inspect, prune, evaluate, report, reproduce, plan, push, families):
    models = asked in (calibrate, prune, evaluate, reproduce, plan)
    app.command()(guarded(spread_out(asked), models=models))


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
