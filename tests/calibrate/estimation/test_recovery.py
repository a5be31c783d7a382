"""A calibration takes minutes to hours: its profile is never lost."""

import os
import re
from pathlib import Path

import pytest

from calibrate.estimation import command
from headrouter_core.errors import HeadRouterError
from headrouter_core.profile.profile import Profile
from tests.headrouter_core.checking.bundles import make_profile


def places(monkeypatch, tmp_path):
    for name in ("work", "home", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(command.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))


def save(output):
    with pytest.raises(HeadRouterError) as raised:
        command._save(make_profile(), output, force=False)
    return str(raised.value)


def recovered(message):
    return Path(re.search(r"is in (\S+): move it", message)[1])


def test_a_folder_that_went_away_meanwhile(monkeypatch, tmp_path):
    places(monkeypatch, tmp_path)
    message = save(tmp_path / "gone" / "p.safetensors")
    assert "create it first; the profile was calibrated" in message
    assert recovered(message).parent == tmp_path / "work"
    assert Profile.load(recovered(message)).digest == make_profile().digest


def test_a_file_that_came_meanwhile_is_kept(monkeypatch, tmp_path):
    places(monkeypatch, tmp_path)
    (tmp_path / "p.safetensors").write_text("another's")
    message = save(tmp_path / "p.safetensors")
    assert (tmp_path / "p.safetensors").read_text() == "another's"
    assert Profile.load(recovered(message)).digest == make_profile().digest


def test_a_disk_that_is_full(monkeypatch, tmp_path):
    places(monkeypatch, tmp_path)
    sync, full = os.fsync, {os.stat(tmp_path / name).st_ino for name in ("work", "home")}

    def fsync(descriptor):
        where = Path(os.readlink(f"/proc/self/fd/{descriptor}")).parent
        if where.exists() and os.stat(where).st_ino in full:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    message = save(tmp_path / "work" / "p.safetensors")
    assert message.startswith("cannot write ")
    assert "No space left on device" in message
    assert recovered(message).parent == tmp_path / "temporary"
    full.add(os.stat(tmp_path / "temporary").st_ino)
    message = save(tmp_path / "work" / "p.safetensors")
    assert "No space left on device; nor is there any other place" in message
    assert len(list(tmp_path.rglob("*.*"))) == 1


def test_places_that_are_not_there(monkeypatch, tmp_path):
    places(monkeypatch, tmp_path)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user that nobody knows
    (tmp_path / "work").rmdir()
    message = save(Path("gone") / "p.safetensors")
    assert recovered(message).parent == tmp_path / "temporary"
