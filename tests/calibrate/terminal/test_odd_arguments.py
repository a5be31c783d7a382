"""Arguments that name nothing that can be: one clear line each, and never a fault in headrouter."""

import errno
import os

import pytest
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.terminal.errors import AudioError
from calibrate.terminal.exits import describe
from tiny_omni import DEMO

#: Longer than any file system takes.
LONG = "a" * 5000


def invoke(*arguments):
    return CliRunner().invoke(app, [str(part) for part in arguments])


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", LONG],
        ["calibrate", "--data", LONG],
        ["evaluate", "--output", LONG, "--methods", "frame"],
        ["prune", DEMO, "--model", LONG],
        ["prune", DEMO, "--model", "user/" + "a" * 250],
        ["prune", DEMO, "--model", "~nobody-of-this-name/model"],
    ],
)
def test_names_that_no_file_can_have(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke(*arguments)
    assert done.exit_code in (1, 2, 3)
    assert "error: " in done.stderr
    assert "unexpected" not in done.stderr
    assert "the system refuses" not in done.stderr  # said by whoever knows what the name is for


@pytest.mark.parametrize("command", [["evaluate", "--methods", "frame", "-o"], ["report"]])
def test_a_folder_without_a_name(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke(*command, "")
    assert done.exit_code == 2
    assert "the name is empty" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shard", ["9" * 5000 + "/2", "1/" + "9" * 5000, "²/3", "1/2/3", "-1/2"])
def test_shards_that_are_none(tmp_path, shard):
    done = invoke("evaluate", "--output", tmp_path, "--methods", "frame", "--shard", shard)
    assert done.exit_code == 2
    assert "is not K/N with K from 1 to N" in done.stderr


def test_what_the_system_refuses_is_no_fault_of_ours(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert describe(full).startswith("the system refuses: No space left on device;")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError) as raised:
        os.listdir(tmp_path / "file")
    assert describe(raised.value).startswith(f"{tmp_path / 'file'}: the system refuses: Not a ")
    assert "fault in headrouter" in describe(OSError("made up"))
    assert describe(AudioError("said already")) == "said already"
