"""What happened to a bundle on its way is noticed, and what it promises is checked cheaply."""

import copy
import json
import pickle
import random
import tracemalloc
import warnings

import pytest
import torch

from headrouter_core.errors import ProfileError
from headrouter_core.profile import bundle
from headrouter_core.profile.profile import Profile, Recipe
from headrouter_core.profile.shipped import shipped_profiles
from headrouter_core.selectors import HeadRouter

from ..checking.bundles import join, make_calibration, make_profile, make_tensors, split


def small():
    """A profile of few bytes, with a letter that JSON escapes and a number with an exponent."""
    return make_profile(
        tensors=make_tensors(samples=0, tasks=0),
        calibration=make_calibration(
            samples=[], sample_tasks=[], tasks=[], groups={}, manifest=None, device="é"
        ),
        recipe=Recipe(weights_strength=1e-7),
        results={},
    )


def load(path, content):
    path = path / "p.safetensors"
    path.write_bytes(content)
    return Profile.load(path)


def saved(profile, path):
    profile.save(path / "saved.safetensors", force=True)
    return (path / "saved.safetensors").read_bytes()


def without_checksum(content):
    header, data = split(content)
    metadata = json.loads(header["__metadata__"]["headrouter"])
    del metadata["checksum"]
    return join(header | {"__metadata__": {"headrouter": json.dumps(metadata)}}, data)


# the checksum


def test_a_flipped_bit_in_any_byte_is_noticed(tmp_path):
    content = saved(small(), tmp_path)
    passed = []
    # every byte, and each of its bits in turn; all 8 of all bytes take a minute and hold as well
    for bit in range(0, 8 * len(content), 7):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            load(tmp_path, bytes(flipped))
        except ProfileError:
            continue
        passed.append(bit)
    assert passed == []


def test_flipped_bits_of_a_shipped_profile_are_noticed(tmp_path):
    content = shipped_profiles()["tiny-omni"].read_bytes()
    draw = random.Random(0)
    for _ in range(200):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        with pytest.raises(ProfileError):
            load(tmp_path, bytes(flipped))


def test_a_file_that_says_nothing_of_itself_is_loaded_with_a_warning(tmp_path):
    content = saved(make_profile(), tmp_path)
    with pytest.warns(UserWarning, match=r"p\.safetensors has no checksum"):
        profile = load(tmp_path, without_checksum(content))
    # and saving it makes it whole
    assert saved(profile, tmp_path) == content


def test_shipped_profiles_have_a_checksum():
    for path in shipped_profiles().values():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Profile.load(path)


def test_the_checksum_does_not_depend_on_the_layout_of_the_file(tmp_path):
    header, data = split(saved(make_profile(), tmp_path))
    moved, content = {"__metadata__": header.pop("__metadata__")}, b""
    for name, entry in reversed(header.items()):
        begin, end = entry["data_offsets"]
        moved[name] = entry | {"data_offsets": [len(content), len(content) + end - begin]}
        content += data[begin:end]
    assert load(tmp_path, join(moved, content)).digest == make_profile().digest


@pytest.mark.parametrize("mark", ["0" * 64, "", 3, ["a"], {"sha": 1}])
def test_a_checksum_of_something_else(tmp_path, mark):
    header, data = split(saved(make_profile(), tmp_path))
    metadata = json.loads(header["__metadata__"]["headrouter"]) | {"checksum": mark}
    text = bundle.canonical_json(metadata)
    with pytest.raises(ProfileError, match="does not match its checksum"):
        load(tmp_path, join(header | {"__metadata__": {"headrouter": text}}, data))


# what a file promises


def peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(path, content, match):
    def attempt():
        with pytest.raises(ProfileError, match=match):
            load(path, content)

    return attempt


def test_a_header_of_too_many_tensors_is_refused_before_any_is_read(tmp_path, monkeypatch):
    def read(*_):
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(bundle, "load", read)
    header, data = split(saved(make_profile(), tmp_path))
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    many = header | {f"t{number}": empty for number in range(30_000)}
    refused(tmp_path, join(many, data), "keys that schema 1 does not know")()
    larger = header | {"centers": header["centers"] | {"shape": [3, 2**40]}}
    refused(tmp_path, join(larger, data), "centers is torch.float64")()


@pytest.mark.parametrize("number", [100_000, 700_000])
def test_files_that_are_too_long_for_a_profile_cost_nothing(tmp_path, number):
    header, data = split(saved(make_profile(), tmp_path))
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    content = join(header | {f"tensor{n}": empty for n in range(number)}, data)
    assert peak(refused(tmp_path, content, "at most")) < 3 * bundle.MAX_BYTES


def test_a_profile_too_large_to_be_loaded_is_never_made():
    with pytest.raises(ProfileError, match="calibrate on fewer samples"):
        make_profile(versions={str(number): "x" * 200 for number in range(30_000)})


@pytest.mark.parametrize("key", ["schema", "results"])
def test_a_key_that_stands_twice(tmp_path, key):
    header, data = split(without_checksum(saved(make_profile(), tmp_path)))
    text = header["__metadata__"]["headrouter"]
    doubled = f'{text[:-1]},"{key}":{{}}}}'
    with pytest.raises(ProfileError, match=f"{key}' stands twice"):
        load(tmp_path, join(header | {"__metadata__": {"headrouter": doubled}}, data))


def test_metadata_that_is_nested_deep(tmp_path):
    for levels in (20, 300, 900):
        nested = 0
        for _ in range(levels):
            nested = [nested]
        with pytest.raises(ProfileError, match=r"nested deeper than 16|cannot be written"):
            make_profile(versions={"torch": "1", "odd": nested})


# what a profile hands out


def test_nobody_writes_into_a_sound_profile(tmp_path):
    profile = make_profile()
    digest, weights = profile.digest, profile.weights.clone()
    profile.tensors["weights.semantic"].fill_(float("nan"))
    profile.weights.zero_()
    profile.centers.zero_()
    profile.calibration["samples"].clear()
    profile.results["ratios"] = 3
    assert torch.equal(profile.weights, weights)
    assert profile.centers.tolist() == [0.16, 0.125, 0.09]
    assert HeadRouter(profile).profile.weights.sum(1).allclose(torch.ones(3))
    profile.save(tmp_path / "p.safetensors")
    again = Profile.load(tmp_path / "p.safetensors")
    assert again.digest == digest
    assert len(again.calibration["samples"]) == 3
    with pytest.raises(TypeError):
        profile.tensors["centers"] = torch.zeros(3)


def test_profiles_are_copied_and_pickled_whole():
    profile = make_profile()
    for other in (copy.deepcopy(profile), pickle.loads(pickle.dumps(profile))):
        assert other.digest == profile.digest
        assert torch.equal(other.weights, profile.weights)


def test_a_recipe_is_not_shared_with_who_made_it():
    settings = {"route": "auto", "change": 1.0, "sharpness": 0.25, "merge": 0.5}
    recipe = Recipe(selector_parameters={"adaptive_segments": settings})
    profile = make_profile(recipe=recipe)
    settings["route"] = "nowhere"
    assert profile.recipe.selector_parameters["adaptive_segments"]["route"] == "auto"


@pytest.mark.parametrize("wrong", [3, None, [1.0], "centers"])
def test_something_that_is_no_tensor(wrong):
    with pytest.raises(ProfileError, match="centers is"):
        make_profile(tensors=make_tensors(centers=wrong))
