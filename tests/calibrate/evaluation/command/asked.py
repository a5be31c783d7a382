"""What the tests of ``headrouter evaluate`` have in common."""

import json

from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.evaluation.datasets import manifest
from calibrate.evaluation.scoring.items import KINDS
from calibrate.models import asking

METHODS, RATIOS = "headrouter,frame,affinity_merge", "0.6,0.9"
SYSTEMS = [("vanilla", 0.0)] + [
    (method, ratio) for ratio in (0.6, 0.9) for method in METHODS.split(",")
]


def shortened(patch):
    """Ask for few tokens, and time once."""
    patch.setattr(asking, "RUNS", 1)
    patch.setattr(manifest, "MAX_NEW_TOKENS", dict.fromkeys(KINDS, 4))


def run(arguments, output, *more):
    return CliRunner().invoke(
        app, ["evaluate", *arguments, "--output", str(output), *map(str, more)]
    )


def without_seconds(folder):
    """``results.json`` but for what differs from run to run."""
    content = json.loads((folder / "results.json").read_text("utf-8"))
    for item in content["items"]:
        del item["seconds"]
    return content
