"""The command: read a folder of results, write a page."""

from __future__ import annotations

import os

from calibrate.commands.report import Report
from calibrate.evaluation.comparing.results import read
from calibrate.evaluation.folder import Folder
from calibrate.terminal.console import show, working
from calibrate.terminal.outputs import claim
from headrouter_core.basics.writing import write
from headrouter_core.errors import UsageError


def run(request: Report) -> None:
    """Do what the command line asks.

    Raises:
        UsageError: no folder of results, or a file in the way.
        HeadRouterError: something in the folder is damaged.
    """
    path, folder = request.results, Folder(request.results)
    if not os.path.isdir(path):  # not Path.is_dir(), which raises for names that no file can have
        raise UsageError(f"{path} is no folder; give the one that headrouter evaluate wrote")
    output = request.output or folder.page
    claim(output, force=request.force, inputs=[folder.results, folder.timing, folder.examples])
    found = read(folder.results)
    timing = folder.stored(folder.timing, found.evaluation)
    examples = folder.stored(folder.examples, found.evaluation)
    from calibrate.evaluation.showing.report.page import render  # matplotlib is slow to import

    with working("drawing"):
        content = render(found, timing, examples, folder)
    write(output, content, force=request.force)
    show(f"Wrote {output} ({len(content) / 1e6:.1f} MB)")
