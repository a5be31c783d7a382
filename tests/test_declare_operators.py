"""torchvision without its operators, for the environment of ``make vllm``: on stand-ins for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "declare_operators.py"
PACKAGE = "from . import extension, meta\n"
EXTENSION = "import torch\n\n\ndef _has_ops():\n    return {has}\n"
META = "import torch\n\ntorch.library.register_fake('torchvision::nms')(lambda *given: given[0])\n"


@pytest.fixture
def run(tmp_path):
    def run():
        return subprocess.run(
            [sys.executable, str(SCRIPT)],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def write(folder, extension, package=PACKAGE, meta=META):
    (folder / "torchvision").mkdir()
    files = {"__init__": package, "extension": extension, "meta": meta}
    for name, text in files.items():
        (folder / "torchvision" / f"{name}.py").write_text(text)
    return folder / "torchvision" / "extension.py"


def test_missing_operators_are_declared_once(tmp_path, run):
    path = write(tmp_path, EXTENSION.format(has=False))
    for _ in range(2):
        done = run()
        assert done.returncode == 0, done.stderr
        assert path.read_text().count("torch.library.define") == 1


def test_one_that_loads_stays_as_it_is(tmp_path, run):
    path = write(tmp_path, EXTENSION.format(has=True), meta="")
    assert run().returncode == 0
    assert path.read_text() == EXTENSION.format(has=True)


def test_another_shape_is_told_and_left_alone(tmp_path, run):
    path = write(tmp_path, "import torch\n")  # no _has_ops
    done = run()
    assert done.returncode == 1
    assert "does not load even with operators declared: NameError" in done.stderr
    assert "install the build of torchvision that goes with this torch" in done.stderr
    assert path.read_text() == "import torch\n"


def test_no_torchvision_is_told(run):
    done = run()
    assert done.returncode == 1
    assert "torchvision" in done.stderr
