"""``headrouter push``, in processes of its own, against a server that speaks the Hub's protocol."""

import json
import os
import subprocess
import sys

import pytest

from headrouter_core.profile.profile import Profile
from headrouter_core.profile.shipped import shipped_profiles
from tests.calibrate.sharing.hub import TOKEN, serving

DIGEST = Profile.load(shipped_profiles()["tiny-omni"]).digest


@pytest.fixture
def hub():
    with serving() as kind:
        yield kind


@pytest.fixture
def run(hub, tmp_path):
    def invoke(*arguments, token=TOKEN, **more):
        around = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        around |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache")}
        around |= {"HF_TOKEN": token} if token else {}
        return subprocess.run(
            [sys.executable, "-m", "calibrate", *arguments],
            env={**around, **more},
            check=False,
            capture_output=True,
            text=True,
        )

    return invoke


def test_what_is_pushed_can_be_loaded(hub, run):
    done = run("push", "tiny-omni", "me/profile", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {
        "repository": "me/profile",
        "digest": DIGEST,
        "commit": f"{hub.url}/me/profile/commit/{'c' * 40}",
        "pull_request": None,
    }
    files = hub.repositories["me/profile"]["main"]
    head, text = files["README.md"].decode().removeprefix("---\n").split("\n---\n\n")
    assert "library_name: headrouter" in head
    assert "base_model" not in head  # tiny-omni is no Hub id
    assert text.startswith("# me/profile\n")
    assert hub.commits == [
        ("me/profile", "main", f"Profile {DIGEST[:12]}", ["README.md", "profile.safetensors"])
    ]
    done = run("inspect", "me/profile", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["digest"] == DIGEST


def test_a_second_push_a_branch_and_a_pull_request(hub, run):
    hub.repositories["me/profile"] = {"main": {"profile.safetensors": b"old", "a.png": b""}}
    assert run("push", "tiny-omni", "me/profile", "--revision", "new").returncode == 0
    assert hub.repositories["me/profile"]["main"]["profile.safetensors"] == b"old"
    assert "README.md" in hub.repositories["me/profile"]["new"]
    done = run("push", "tiny-omni", "me/profile", "--create-pr", "--message", "Better")
    assert done.stdout.startswith(f"{hub.url}/me/profile/discussions/1\n"), done.stderr
    assert [commit[:3] for commit in hub.commits[1:]] == [("me/profile", "refs/pr/1", "Better")]


def test_the_card_of_something_else_is_not_replaced(hub, run):
    hub.repositories["me/model"] = {"main": {"README.md": b"mine", "model.safetensors": b""}}
    done = run("push", "tiny-omni", "me/model")
    assert done.returncode == 2
    assert "holds 2 files and no profile.safetensors" in done.stderr
    assert hub.commits == []
    assert run("push", "tiny-omni", "me/model", "--force").returncode == 0


def test_a_dry_run_sends_nothing(hub, run):
    done = run("push", "tiny-omni", "me/profile", "--dry-run", token=None, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert f"digest `{DIGEST}`" in done.stdout
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("arguments", "around", "code", "message"),
    [
        (["tiny-omni", "me/p"], {"token": None}, 1, "hf auth login"),
        (["tiny-omni", "me/p"], {"token": "hf_wrong"}, 1, "not let you write to me/p (401)"),
        (["tiny-omni", "other/p"], {}, 1, "not let you write to other/p (403)"),
        (["tiny-omni", "me/p"], {"HF_HUB_OFFLINE": "1"}, 1, "HF_HUB_OFFLINE is set"),
        (["tiny-omni", "me/p"], {"HF_ENDPOINT": "http://127.0.0.1:9"}, 1, "could not be sent"),
        (["tiny-omni", "alone"], {}, 2, "names nobody"),
        (["tiny-omni", "me/a b"], {}, 2, "is no name on the Hub"),
        (["no.safetensors", "me/p"], {}, 3, "no profile or file"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(hub, run, arguments, around, code, message):
    done = run("push", *arguments, **around)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert hub.commits == []
