"""The command line as a process: its streams, its encoding, and Ctrl-C at any moment."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.headrouter_core.checking.bundles import make_info, make_profile

ROOT = Path(__file__).parents[3]
HEADROUTER = f"{sys.executable} -m calibrate"
INTERRUPTED = "error: interrupted; nothing half-written is left behind\n"


def shell(command, **environment):
    """Run a line of shell in which ``headrouter`` is this one."""
    line = f'headrouter() {{ {HEADROUTER} "$@"; }}\n{command}'
    return subprocess.run(
        ["bash", "-c", line],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("arguments", ["--help", "--version", "inspect tiny-omni"])
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout(arguments):
    done = shell(f"headrouter {arguments} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == b"error: cannot write to standard output: No space left on device\n"


def test_a_full_disk_behind_stderr_stops_nothing():
    done = shell("headrouter inspect tiny-omni 2> /dev/full")
    assert done.returncode == 0
    assert b"More: --all" in done.stdout
    assert shell("headrouter inspect nothing 2> /dev/full").returncode == 3


def test_closed_streams():
    done = shell("headrouter inspect tiny-omni >&-")
    assert done.returncode == 1
    assert done.stderr == (
        b"error: standard output is closed; give it a file, a pipe or /dev/null\n"
    )
    done = shell("headrouter inspect tiny-omni <&- 2>&-")
    assert done.returncode == 0
    assert b"More: --all" in done.stdout
    done = shell("headrouter inspect nothing 2>&-")
    assert (done.returncode, done.stdout) == (3, b"")


def test_whoever_reads_has_read_enough():
    done = shell("headrouter inspect tiny-omni | head -c 10; exit ${PIPESTATUS[0]}")
    assert done.returncode == 1
    assert done.stderr == b""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_any_encoding(tmp_path, encoding):
    make_profile(model=make_info(id="Grüße 你好")).save(tmp_path / "p.safetensors")
    done = shell(f"headrouter inspect {tmp_path}/p.safetensors", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert b"Head weights" in done.stdout
    done = shell(f"headrouter inspect {tmp_path}/p.safetensors --json", PYTHONIOENCODING=encoding)
    named = json.loads(done.stdout.decode(encoding.partition(":")[0]))["model"]["id"]
    assert named == "Grüße 你好"


def test_names_that_are_not_utf_8():
    done = shell(r"headrouter inspect $'caf\xe9\n\x1b[31m.safetensors'")
    assert done.returncode == 3
    assert rb"caf\udce9\n\x1b[31m.safetensors" in done.stderr
    assert done.stderr.count(b"\n") == 1
    done = shell(r"headrouter $'\x1b[31m'; headrouter inspect --odd$'\x1b[31m'")
    assert done.returncode == 2
    assert b"\x1b" not in done.stderr


def heeding_interrupts():
    """Let a process be interrupted, even where these tests run in a background that is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


STARTED = """
import sys
from calibrate.terminal import interrupts
interrupts.install()
print("started", flush=True)
from calibrate.cli import main
main()
"""


def test_ctrl_c_at_any_moment_ends_with_130_and_one_line():
    """From the first module on: typer, rich, torch, transformers, and the work itself."""
    ends = []
    for number in range(9):
        process = subprocess.Popen(
            [sys.executable, "-c", STARTED, "inspect", "tiny-omni"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heeding_interrupts,
        )
        assert process.stdout.readline() == "started\n"
        time.sleep(0.25 * number)
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=120)
        ends.append((process.returncode, messages))
    # the last may have been done before the signal came
    assert set(ends) <= {(130, INTERRUPTED), (0, "")}
    assert ends.count((130, INTERRUPTED)) >= 4


WORKING = """
import os, signal, sys
from calibrate.inspection import contents
from calibrate.terminal import interrupts
sys.argv = ["headrouter", "inspect", "x"]
def work(*_, **__):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(10**9))
    finally:
        print("put away", flush=True)
contents.run = work
from calibrate.cli import main
main()
"""


def test_ctrl_c_while_a_command_works_puts_everything_away():
    done = subprocess.run(
        [sys.executable, "-c", WORKING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=heeding_interrupts,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "put away\n", INTERRUPTED)


def test_who_ignores_interrupts_is_left_alone():
    done = shell("trap '' INT; headrouter inspect tiny-omni & kill -INT $!; wait $!")
    assert done.returncode == 0
