"""The locks of CI name the versions that the tests are said to have passed with."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^ \n]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Return version by canonical name of a requirements file."""
    found = PIN.findall((ROOT / name).read_text("utf-8"))
    return {re.sub(r"[-_.]+", "-", project).lower(): version for project, version in found}


def test_the_lock_holds_what_constraints_hold():
    wanted = pins("constraints.txt")
    wanted.pop("torch")  # has another file for each kind of device
    assert pins("requirements.lock") == wanted


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-floor.lock"])
def test_every_pin_has_hashes(name):
    text = (ROOT / name).read_text("utf-8")
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    assert len(blocks) > 1
    assert all("--hash=sha256:" in block for block in blocks if block)
    assert "://" not in text


def test_the_floor_is_the_one_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (declared,) = (d for d in project["dependencies"] if d.startswith("transformers"))
    assert declared == f"transformers>={pins('requirements-floor.lock')['transformers']},<6"


def test_the_floor_lock_holds_its_own_requirements():
    wanted = pins("requirements-floor.in")
    assert wanted
    assert wanted.items() <= pins("requirements-floor.lock").items()
