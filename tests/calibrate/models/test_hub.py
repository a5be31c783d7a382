"""Models of the Hub: what is fetched, what is recorded of it, and refusals."""

import types

import huggingface_hub
import pytest
from huggingface_hub import errors

from calibrate.models.named import load
from calibrate.terminal.errors import ModelError
from headrouter_core.families import model_info
from tests.calibrate.helpers import spoiled


def refusal(kind):
    # which HTTP library makes the response depends on the version of huggingface_hub
    return kind("refused\nmore", response=types.SimpleNamespace(headers={}, request=None))


class ReadTimeout(Exception):
    """Stands for the HTTP library's own errors, which have no base in common with the client's."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (refusal(errors.GatedRepoError), "some/model is gated: ask for access.*hf auth login"),
        (refusal(errors.RepositoryNotFoundError), "no model some/model that you may see"),
        (refusal(errors.RevisionNotFoundError), "no revision v2; see"),
        (refusal(errors.HfHubHTTPError), r"could not be fetched \(HfHubHTTPError: refused\)"),
        (errors.LocalEntryNotFoundError("not cached"), "check the connection"),
        (ReadTimeout("slow"), r"could not be fetched \(ReadTimeout"),
        (errors.HFValidationError("bad"), "is no Hub id"),
    ],
)
def test_hub_refusals(monkeypatch, error, message):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match=message):
        load("some/model", revision="v2", device="cpu")


def test_offline(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="not in the local cache and HF_HUB_OFFLINE is set"):
        load("qwen2.5-omni-3b", device="cpu")


def test_a_snapshots_commit_is_recorded(thinker, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = spoiled(thinker, tmp_path).rename(tmp_path / commit)
    asked = {}

    def download(repository, **options):
        asked.update(options, repository=repository)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = load("qwen2.5-omni-3b", revision="main", device="cpu")
    assert (found.name, found.id) == ("qwen2.5-omni-3b", "Qwen/Qwen2.5-Omni-3B")
    assert found.revision == commit
    assert found.reasons[0] == f"model Qwen/Qwen2.5-Omni-3B at {commit}"
    assert asked["repository"] == "Qwen/Qwen2.5-Omni-3B"
    assert asked["revision"] == "main"
    assert not any(pattern.endswith((".py", ".bin", ".pt")) for pattern in asked["allow_patterns"])
    info = model_info(found.model, 2)
    assert (info.id, info.revision) == ("Qwen/Qwen2.5-Omni-3B", commit)


def test_code_is_fetched_only_when_trusted(monkeypatch):
    asked = {}

    def download(repository, **options):
        asked.update(options)
        raise OSError("enough")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    for trusted in (False, True):
        with pytest.raises(ModelError):
            load("some/model", device="cpu", trust_remote_code=trusted)
        assert ("*.py" in asked["allow_patterns"]) is trusted
