"""The wheel works outside the checkout, carries what it must, and no more."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    call = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([sys.executable, "-m", *call, str(ROOT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_contents(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.stat().st_size < 30 * MEGABYTE
    for part in (
        "headrouter_core/py.typed",
        "headrouter_core/_profiles/tiny-omni.safetensors",
        "tiny_omni/model/model.safetensors",
        "tiny_omni/model/config.json",
        "tiny_omni/demo.flac",
        "tiny_omni/audio/metadata.jsonl",
        "tiny_omni/audio/README.md",
    ):
        assert part in names
    for licence in ("LICENSE", "NOTICE", "CC-BY-4.0.txt", "CC-BY-SA-4.0.txt", "CC-BY-3.0.txt"):
        assert any(name.endswith(f"/{licence}") for name in names), licence
    for split in ("train", "test"):
        assert not any(name.startswith(f"tiny_omni/audio/{split}/") for name in names)
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"headrouter_core", "calibrate", "small_omni", "tiny_omni"}


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """An environment with the wheel alone; its dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    call = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--prefix", str(folder)]
    subprocess.run([sys.executable, "-m", *call, "--ignore-installed", str(wheel)], check=True)
    # a path line brings the libraries here, but not the editable install of the checkout
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


CLI = "from calibrate.cli import main; main()"


def run(python, code, *arguments, folder):
    """Run code with nothing of this environment's settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_"))}
    return subprocess.run(
        [python, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_prune_outside_the_checkout(bare, tmp_path):
    code = "import headrouter_core, tiny_omni; print(tiny_omni.DEMO)"
    place = run(bare, code, folder=tmp_path).stdout.strip()
    assert place.endswith("demo.flac")
    assert not place.startswith(str(ROOT))
    result = run(bare, CLI, "prune", place, "--ratio", "0.6", "--json", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["audio_tokens"] == 300
    assert data["kept"] == len(data["kept_indices"]) == 120
    assert data["answer_unpruned"]


def test_samples_are_in_the_wheel(bare, tmp_path):
    module = "calibrate.estimation.samples.sample"
    code = f"from {module} import shipped_samples; print(len(shipped_samples(1)))"
    assert run(bare, code, folder=tmp_path).stdout.strip() == "18"
