"""``headrouter prune`` on a small model, quickly."""

import pytest
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.models import asking


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """One timed run, and a folder of one's own that holds no profile."""
    monkeypatch.setattr(asking, "RUNS", 1)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def run(thinker, profile_file):
    """Run ``headrouter prune`` on the small thinker with its profile."""

    def invoke(*arguments, model=thinker, profile=profile_file, tokens=4):
        options = ["--model", model, "--max-new-tokens", tokens, "--device", "cpu"]
        options += ["--profile", profile] if profile else []
        # the test's own come last: they win
        return CliRunner().invoke(app, [str(part) for part in ("prune", *options, *arguments)])

    return invoke
