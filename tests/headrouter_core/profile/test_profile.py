import hashlib
import json
import math
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import headrouter_core
from headrouter_core.errors import (
    HeadRouterError,
    UsageError,
)
from headrouter_core.profile import bundle
from headrouter_core.profile.profile import Profile, Recipe

from ..checking.bundles import make_calibration, make_profile, make_tensors, split

ROOT = Path(__file__).parents[3]


def test_a_profile_comes_back_as_it_was(tmp_path):
    profile = make_profile()
    profile.save(tmp_path / "p.safetensors")
    again = Profile.load(tmp_path / "p.safetensors")
    assert again.digest == profile.digest
    assert again.model == profile.model
    assert again.recipe == profile.recipe
    assert again.metadata() == profile.metadata()
    assert all(torch.equal(again.tensors[name], profile.tensors[name]) for name in again.tensors)


def test_the_digest_is_that_of_the_file(tmp_path):
    profile = make_profile()
    profile.save(tmp_path / "p.safetensors")
    content = (tmp_path / "p.safetensors").read_bytes()
    assert profile.digest == hashlib.sha256(content).hexdigest()


def test_the_file_is_as_the_schema_says():
    header, _ = split(bundle.to_bytes(make_profile().tensors, make_profile().metadata()))
    assert list(header.pop("__metadata__")) == ["headrouter"]
    assert {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()} == {
        "weights.semantic": ("F32", [4]),
        "weights.uniform": ("F32", [4]),
        "weights.acoustic": ("F32", [4]),
        "centers": ("F64", [3]),
        "bandwidth": ("F64", [1]),
        "calibration.selectivity": ("F32", [3, 4]),
        "calibration.spread": ("F64", [3]),
        "calibration.audio_tokens": ("I64", [3]),
        "calibration.ablation": ("F32", [2, 2, 2, 4]),
        "calibration.ablation_stderr": ("F32", [2, 2, 2, 4]),
    }


def test_the_metadata_is_canonical_json():
    header, _ = split(bundle.to_bytes(make_profile().tensors, make_profile().metadata()))
    text = header["__metadata__"]["headrouter"]
    metadata = json.loads(text)
    assert text == json.dumps(metadata, sort_keys=True, separators=(",", ":"))
    assert metadata["schema"] == 1
    assert metadata["version"] == headrouter_core.__version__
    assert metadata["model"] == {
        "id": "tiny",
        "revision": "0123abc",
        "family": "qwen2_5_omni",
        "layers": 6,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 8,
        "probe_layer": 1,
        "fingerprint": "ab" * 32,
    }
    assert metadata["calibration"]["dtype"] == "float32"
    assert metadata["recipe"]["prefilter_exponent"] == 0.5


def test_equal_content_gives_equal_bytes_in_any_process(tmp_path):
    profile = make_profile()
    script = (
        "import sys; from tests.headrouter_core.checking.bundles import make_profile;"
        "make_profile().save(sys.argv[1])"
    )
    for number in range(2):
        # another hash seed and thread count: neither may reach the file
        environment = os.environ | {
            "PYTHONHASHSEED": str(number),
            "OMP_NUM_THREADS": str(number + 1),
        }
        path = tmp_path / f"{number}.safetensors"
        command = [sys.executable, "-c", script, str(path)]
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == profile.digest


def test_order_layout_and_number_types_do_not_reach_the_bytes():
    tensors = make_tensors()
    turned = tensors["calibration.selectivity"].t().contiguous().t()
    tensors["calibration.selectivity"] = turned
    wide = torch.zeros(2, 2, 2, 8)
    wide[..., ::2] = tensors["calibration.ablation"]
    tensors["calibration.ablation"] = wide[..., ::2]
    shuffled = make_profile(
        tensors=dict(reversed(tensors.items())),
        calibration=dict(reversed(make_calibration(ratios=(0.6, 0.9)).items())),
        recipe=Recipe(
            prefilter_exponent=0.5, weights_strength=0, ablation=["leave_one_out", "keep_one"]
        ),
    )
    assert shuffled.digest == make_profile().digest


def test_other_content_gives_another_digest():
    assert make_profile(results={}).digest != make_profile().digest


def test_an_empty_calibration_is_a_profile(tmp_path):
    profile = make_profile(
        tensors=make_tensors(samples=0, tasks=0),
        calibration=make_calibration(
            samples=[], sample_tasks=[], tasks=[], groups={}, manifest=None
        ),
    )
    profile.save(tmp_path / "p.safetensors")
    assert Profile.load(tmp_path / "p.safetensors").digest == profile.digest


def test_a_profile_does_not_follow_later_writes():
    tensors, calibration = make_tensors(), make_calibration()
    profile = make_profile(tensors=tensors, calibration=calibration)
    tensors["weights.semantic"][0] = math.nan
    calibration["samples"].append("late")
    assert profile.tensors["weights.semantic"].isfinite().all()
    assert len(profile.calibration["samples"]) == 3


def test_typed_access():
    profile = make_profile()
    assert profile.weights.shape == (3, 4)
    assert torch.equal(profile.weights[2], profile.tensors["weights.acoustic"])
    assert profile.centers.tolist() == [0.16, 0.125, 0.09]
    assert profile.bandwidth == 0.02


def test_existing_files_are_kept_unless_forced(tmp_path):
    path = tmp_path / "p.safetensors"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        make_profile().save(path)
    assert path.read_text() == "precious"
    make_profile().save(path, force=True)
    assert Profile.load(path).digest == make_profile().digest
    assert list(tmp_path.iterdir()) == [path]


def test_saving_needs_a_folder_and_a_file_name(tmp_path):
    with pytest.raises(UsageError, match="create it first"):
        make_profile().save(tmp_path / "missing" / "p.safetensors")
    with pytest.raises(UsageError, match="is a folder"):
        make_profile().save(tmp_path, force=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_save_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch, error):
    path = tmp_path / "p.safetensors"
    path.write_text("old")

    def fail(descriptor):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    wanted = HeadRouterError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(wanted):
        make_profile().save(path, force=True)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_file_is_as_readable_as_any_other(tmp_path):
    make_profile().save(tmp_path / "p.safetensors")
    (tmp_path / "other").write_text("")
    assert (tmp_path / "p.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_the_version_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dynamic = "version" in project.get("dynamic", [])
    assert dynamic or project["version"] == headrouter_core.__version__
