import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.commands.calibrate import Recipe
from calibrate.terminal import exits
from calibrate.terminal.errors import AudioError, MissingAudioError, ModelError, SomeFailedError
from headrouter_core import errors

ROOT = Path(__file__).parents[2]
RUN = "import sys; sys.argv[0] = 'headrouter'; from calibrate.cli import main; main()"
SPY = """
import atexit, sys
heavy = {"torch", "transformers", "numpy", "huggingface_hub", "matplotlib"}
atexit.register(lambda: print("heavy:", sorted(heavy & set(sys.modules)), file=sys.stderr))
"""


def process(*arguments):
    command = [sys.executable, "-c", SPY + RUN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


def invoke(*arguments, **options):
    return CliRunner().invoke(app, [str(part) for part in arguments], **options)


@pytest.fixture
def command(monkeypatch):
    """Put a function in the place of what ``inspect`` does."""

    def replace(run):
        monkeypatch.setattr("calibrate.inspection.contents.run", run)

    return replace


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["prune", "--help"], ["families", "--help"], []]
)
def test_help_and_version_need_nothing_heavy(arguments):
    done = process(*arguments)
    assert done.returncode == 0
    assert done.stderr == "heavy: []\n"
    assert done.stdout


@pytest.mark.parametrize("arguments", [["families"], ["families", "--json"]])
def test_families_are_listed_without_importing_what_runs_them(arguments):
    done = process(*arguments)
    assert done.returncode == 0
    assert done.stderr == "heavy: ['huggingface_hub']\n"
    assert "Qwen2_5OmniThinkerForConditionalGeneration" in done.stdout


def test_version_names_the_libraries():
    text = invoke("--version").stdout
    assert text.startswith("headrouter 0.")
    for library in ("torch", "transformers"):
        assert f"{library} {importlib.metadata.version(library)}" in text


def test_bare_prints_help():
    done = invoke()
    assert done.exit_code == 0
    assert "Usage" in done.stdout
    assert all(name in done.stdout for name in ("calibrate", "inspect", "prune"))


def test_help_of_every_command_is_in_the_documentation():
    from docs.make_help import document

    assert (ROOT / "docs/help.md").read_text("utf-8") == document(), "run python -m docs.make_help"


@pytest.mark.parametrize(
    "arguments",
    [
        ["prunes"],
        ["prune"],
        ["prune", "a.wav", "--rato", "0.6"],
        ["prune", "a.wav", "--ratio", "much"],
        ["prune", "a.wav", "--layer", "0"],
        ["prune", "a.wav", "--seed", "-1"],
        ["prune", "a.wav", "--seed", str(10**30)],
        ["prune", "a.wav", "--max-new-tokens", str(10**30)],
        ["calibrate", "--per-category", str(10**12)],
        ["calibrate", "--per-category", "0"],
        ["calibrate", "--ratios", "0.6,1"],
        ["calibrate", "--ratios", "0.6,0.60"],
        ["calibrate", "--ratios", ""],
        ["inspect"],
    ],
)
def test_usage_errors(arguments):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.HeadRouterError("x"), 1),
        (errors.UnsupportedModelError("x"), 1),
        (errors.PruningError("x"), 1),
        (ModelError("x"), 1),
        (AudioError("x"), 1),
        (MissingAudioError("x"), 2),
        (errors.UsageError("x"), 2),
        (errors.ProfileError("x"), 3),
        (errors.ProfileMismatchError("x"), 3),
        (SomeFailedError("x"), 4),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 1),
        (torch.OutOfMemoryError("x"), 1),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_exit_codes(command, error, code):
    def fail(*args, **kwargs):
        raise error

    command(fail)
    done = invoke("inspect", "a.safetensors")
    assert done.exit_code == code
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_out_of_memory_comes_with_advice():
    cpu = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    for error in (MemoryError(), torch.OutOfMemoryError("x"), cpu):
        assert "out of memory; use shorter audio" in exits.describe(error)
    assert "unexpected RuntimeError" in exits.describe(RuntimeError("x"))


def test_a_traceback_only_with_debug(command):
    def fail(*args, **kwargs):
        raise errors.UsageError("wrong")

    command(fail)
    assert invoke("inspect", "a").stderr == "error: wrong\n"
    done = invoke("--debug", "inspect", "a")
    assert done.exit_code == 2
    assert "Traceback" in done.stderr
    assert "error: wrong" in done.stderr
    assert "Traceback" not in invoke("inspect", "a").stderr


def test_messages_are_not_read_as_markup(command):
    def fail(*args, **kwargs):
        raise errors.UsageError("[bold]odd[/bold] [/] name " + "long " * 60)

    command(fail)
    assert invoke("inspect", "a").stderr.startswith("error: [bold]odd[/bold] [/] name")


def test_no_colour_where_there_is_no_terminal(command):
    def fail(*args, **kwargs):
        raise errors.UsageError("wrong")

    command(fail)
    assert "\x1b" not in invoke("inspect", "a", color=True).stderr


def test_warnings_of_libraries_are_messages(command):
    import warnings

    def warn(*args, **kwargs):
        warnings.warn("this may not fit", stacklevel=1)

    command(warn)
    done = invoke("inspect", "a")
    assert done.exit_code == 0
    assert done.stderr == "warning: this may not fit\n"


def test_inspect_passes_its_options_on(command, tmp_path):
    called = {}
    command(lambda request: called.update(vars(request)))
    assert invoke("inspect", "a.safetensors", "--json", "--plot", tmp_path / "p.png").exit_code == 0
    assert called == {
        "profile": "a.safetensors",
        "as_json": True,
        "plot": tmp_path / "p.png",
        "page": None,
        "everything": False,
        "force": False,
    }


def test_calibrate_passes_its_options_on(monkeypatch):
    called = {}
    monkeypatch.setattr("calibrate.estimation.command.run", lambda r, _: called.update(vars(r)))
    assert invoke("calibrate").exit_code == 0
    assert called == {
        "model": "tiny-omni",
        "revision": None,
        "data": None,
        "per_category": 10,
        "ratios": "0.6,0.9",
        "layer": None,
        "device": "auto",
        "dtype": "auto",
        "seed": 0,
        "limit": None,
        "output": None,
        "force": False,
        "stability": False,
        "heads": False,
        "questions": None,
        "recipe": Recipe.BEST,
        "leave_one_out": False,
        "memory": "8GiB",
        "as_json": False,
        "trust_remote_code": False,
    }
    invoke("calibrate", "--data", "x.jsonl", "-o", "y.safetensors")
    assert called["data"] == Path("x.jsonl")
    assert called["output"] == Path("y.safetensors")
