import hashlib
import json
import math
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import huggingface_hub
import pytest
import torch

import headrouter_core
from headrouter_core.errors import (
    HeadRouterError,
    ProfileError,
    ProfileMismatchError,
    UsageError,
)
from headrouter_core.profile import bundle, shipped
from headrouter_core.profile.profile import Profile, Recipe, fingerprint
from headrouter_core.profile.shipped import load_profile

from ..bundles import make_calibration, make_info, make_profile, make_tensors, split

ROOT = Path(__file__).parents[3]


# save and load


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
        "import sys; from tests.headrouter_core.bundles import make_profile;"
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


# recipe


SEGMENTS = {"route": "auto", "change": 1.0, "sharpness": 0.25, "merge": 0.5}


def test_recipe_survives_json():
    recipe = Recipe(
        layer=3,
        text_tokens="after",
        ablation=("keep_one", "output"),
        selector_parameters={"adaptive_segments": SEGMENTS},
    )
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("selector", "fastv"),
        ("selector_parameters", {"route": "hard"}),
        ("selector_parameters", None),
        ("selector_parameters", {"headrouter": {}}),
        ("selector_parameters", {"adaptive_segments": None}),
        ("selector_parameters", {"adaptive_segments": {"route": "auto", "sharpness": 0.25}}),
        ("selector_parameters", {"adaptive_segments": {**SEGMENTS, "segments": 10}}),
        ("selector_parameters", {"adaptive_segments": {**SEGMENTS, "route": "hard"}}),
        ("selector_parameters", {"adaptive_segments": {**SEGMENTS, "merge": 1.5}}),
        ("selector_parameters", {"adaptive_segments": {**SEGMENTS, "sharpness": "0"}}),
        ("layer", 0),
        ("layer", 2.0),
        ("layer", True),
        ("probe_input", "output"),
        ("text_tokens", "before"),
        ("text_tokens", None),
        ("text_tokens", ["all"]),
        ("prefilter_exponent", 1.1),
        ("prefilter_exponent", math.nan),
        ("prefilter_exponent", "0.5"),
        ("ablation", "keep_one"),
        ("ablation", ["keep_two"]),
        ("ablation", ["keep_one", "keep_one"]),
        ("weights_rule", "magic"),
        ("weights_strength", -1),
        ("weights_strength", math.inf),
        ("weights_strength", 10**400),
        ("centers_rule", ""),
        ("bandwidth_rule", 3),
        ("order", "random"),
        ("positions", "renumbered"),
        ("early_cache", "half"),
    ],
)
def test_recipe_refuses_unknown_values(name, value):
    with pytest.raises(ProfileError, match=f"recipe.{name}"):
        Recipe.from_dict(Recipe().to_dict() | {name: value})


@pytest.mark.parametrize("recipe", [{"selector": "headrouter"}, Recipe().to_dict() | {"x": 1}, []])
def test_recipe_refuses_other_keys(recipe):
    with pytest.raises(ProfileError, match="recipe"):
        Recipe.from_dict(recipe)


# fingerprint and check_model


def projections(dtype=torch.bfloat16, seed=0, bias=True):
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(16, 8, generator=generator), torch.randn(4, 8, generator=generator)]
    return [
        (weight.bfloat16().to(dtype), weight[:, 0].bfloat16().to(dtype) if bias else None)
        for weight in weights
    ]


def test_fingerprint_is_pinned():
    weight = torch.arange(6.0).view(2, 3)
    expected = hashlib.sha256(
        b"weight 2x3\n" + b"\x00\x00\x80\x3f\x00\x40\x40\x40\x80\x40\xa0\x40" + b"bias none\n"
    ).hexdigest()
    assert fingerprint([(weight, None)]) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_fingerprint_does_not_depend_on_dtype_or_layout(dtype):
    marks = {
        fingerprint(projections()),
        fingerprint(projections(dtype)),
        fingerprint((w.t().contiguous().t(), b) for w, b in projections(dtype)),
    }
    assert len(marks) == 1


def test_fingerprint_tells_weights_apart():
    (query, query_bias), (key, key_bias) = projections()
    changed = query.clone()
    changed[3, 3] += 0.5
    variants = [
        [(query, query_bias), (key, key_bias)],
        [(key, key_bias), (query, query_bias)],
        [(query, None), (key, None)],
        [(query, query_bias), (key, None)],
        [(changed, query_bias), (key, key_bias)],
        [(query.view(8, 16), query_bias), (key, key_bias)],
    ]
    assert len({fingerprint(variant) for variant in variants}) == len(variants)


class Foreign(torch.Tensor):
    """A weight as torchao's and DTensor's are: it says it is of floats, and can do nothing."""

    @staticmethod
    def of(values):
        return torch.Tensor._make_wrapper_subclass(Foreign, values.shape, dtype=values.dtype)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:  # nn.Parameter asks for it
            return args[0]
        raise NotImplementedError(f"{func} of a foreign tensor")


@pytest.mark.parametrize(
    "weight",
    [
        torch.ones(2, 2, dtype=torch.uint8),
        torch.empty(2, 2, device="meta"),
        torch.ones(2, 2).to(torch.float8_e4m3fn),
        torch.ones(2, 2).to_sparse(),
        Foreign.of(torch.ones(2, 2)),
        torch.nn.Parameter(Foreign.of(torch.ones(2, 2))),
    ],
)
def test_quantised_weights_have_no_fingerprint(weight):
    assert fingerprint([(weight, None)]) is None


def test_the_calibrated_model_passes_without_warning():
    assert make_profile().check_model(make_info()) == []


def test_the_name_alone_decides_nothing():
    assert make_profile().check_model(make_info(id="somewhere/else")) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "ef" * 32},
        {"probe_layer": 2},
        {"fingerprint": None, "family": "qwen2_audio"},
        {"fingerprint": None, "layers": 7},
        {"fingerprint": None, "kv_heads": 4},
        {"fingerprint": None, "head_dim": 16},
    ],
)
def test_a_foreign_model_is_refused_unless_forced(changes):
    name = list(changes)[-1]
    with pytest.raises(ProfileMismatchError, match=rf"{name} is .*headrouter calibrate"):
        make_profile().check_model(make_info(**changes))
    warnings = make_profile().check_model(make_info(**changes), force=True)
    assert name in warnings[0]


def test_another_head_count_is_never_forced():
    with pytest.raises(ProfileMismatchError, match=r"weighs 4 heads .* has 8"):
        make_profile().check_model(make_info(heads=8), force=True)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"fingerprint": None}, "cannot be compared"),
        ({"revision": "ffff"}, "revision is ffff, calibrated was 0123abc"),
        ({"dtype": "bfloat16"}, "dtype is bfloat16, calibrated was float32"),
    ],
)
def test_doubts_are_warnings(changes, word):
    (warning,) = make_profile().check_model(make_info(**changes))
    assert word in warning


def test_a_quantised_calibration_cannot_be_compared_either():
    (warning,) = make_profile(model=make_info(fingerprint=None)).check_model(make_info())
    assert "cannot be compared" in warning


def test_an_unknown_revision_is_no_doubt():
    assert make_profile().check_model(make_info(revision=None)) == []


def test_other_library_versions_are_doubts_and_other_builds_are_not():
    versions = {"torch": "1.0.0", "transformers": "4.0.0", "soxr": "0.1"}
    warnings = make_profile(versions=versions).check_model(make_info())
    assert [warning.split()[0] for warning in warnings] == ["torch", "transformers"]
    build = torch.__version__.partition("+")[0] + "+another"
    assert make_profile(versions={"torch": build}).check_model(make_info()) == []


# load_profile


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A package folder whose checkout ships one profile; the working directory is elsewhere."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "elsewhere").mkdir()
    make_profile().save(tmp_path / "profiles" / "tiny-omni.safetensors")
    monkeypatch.setattr(shipped, "_HERE", tmp_path / "package")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def test_shipped_names_come_first(checkout):
    Path("tiny-omni").write_text("a file of that name")
    assert load_profile("tiny-omni").digest == make_profile().digest


def test_a_wheel_ships_its_profiles_inside_the_package(checkout):
    (checkout / "package" / "_profiles").mkdir()
    make_profile(results={}).save(checkout / "package" / "_profiles" / "packed.safetensors")
    assert list(shipped.shipped_profiles()) == ["packed"]


def test_paths_come_second(checkout):
    path = checkout / "elsewhere" / "mine.safetensors"
    make_profile(results={}).save(path)
    expected = make_profile(results={}).digest
    assert load_profile(path).digest == load_profile("mine.safetensors").digest == expected
    assert load_profile("../elsewhere/mine.safetensors").digest == expected


def test_a_miss_lists_what_is_shipped_and_guesses(checkout):
    with pytest.raises(ProfileError, match=r"Did you mean tiny-omni\? .*headrouter calibrate"):
        load_profile("tiny-omi")
    with pytest.raises(ProfileError, match="shipped profiles are tiny-omni"):
        load_profile("xyz")
    with pytest.raises(ProfileError, match=r"'some/where\.safetensors'"):
        load_profile("some/where.safetensors")
    (checkout / "profiles" / "tiny-omni.safetensors").unlink()
    with pytest.raises(ProfileError, match="none are shipped"):
        load_profile("x" * 5000)


def test_a_revision_needs_a_repository(checkout):
    with pytest.raises(UsageError, match="revision 'main'"):
        load_profile("tiny-omni", revision="main")


def test_a_repository_is_fetched_at_its_revision(checkout, monkeypatch):
    asked = []

    def download(repository, file, *, revision):
        asked.append((repository, file, revision))
        return str(checkout / "profiles" / "tiny-omni.safetensors")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert load_profile("user/repo", revision="v1").digest == make_profile().digest
    assert load_profile("user/repo").digest == make_profile().digest
    assert asked == [
        ("user/repo", "profile.safetensors", "v1"),
        ("user/repo", "profile.safetensors", None),
    ]


def test_a_repository_out_of_reach_is_one_clear_error(checkout, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(checkout / "cache"))
    with pytest.raises(ProfileError, match=r"user/repo at v1 .*check its name and your connection"):
        load_profile("user/repo", revision="v1")


def test_a_local_folder_is_not_taken_for_a_repository(checkout):
    Path("user/repo").mkdir(parents=True)
    with pytest.raises(ProfileError, match="not a file"):
        load_profile("user/repo")


def test_the_version_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dynamic = "version" in project.get("dynamic", [])
    assert dynamic or project["version"] == headrouter_core.__version__
