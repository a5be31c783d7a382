"""``load_profile``: shipped names, paths, repositories, in this order."""

from pathlib import Path

import huggingface_hub
import pytest

from headrouter_core.errors import (
    ProfileError,
    UsageError,
)
from headrouter_core.profile import shipped
from headrouter_core.profile.shipped import load_profile

from ..checking.bundles import make_profile


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A package folder whose checkout ships one profile; the working directory is elsewhere."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "elsewhere").mkdir()
    make_profile().save(tmp_path / "profiles" / "tiny-omni.safetensors")
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "package")
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
