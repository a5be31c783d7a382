"""The picture of the house shows the layers that CI holds."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


PACKAGES = ("headrouter_core", "headrouter_vllm", "calibrate")


def layers(container):
    (contract,) = [c for c in CONTRACTS["contracts"] if c.get("containers") == [container]]
    return [set(layer.split(" | ")) for layer in contract["layers"]]


def arrows(package):
    picture = re.search(rf"## {package}\n.*?```mermaid\n(.*?)```", PAGE, re.DOTALL)[1]
    return re.findall(r"(\w+)(?:\[.*?\])? --> (\w+)", picture)


def floors(container):
    """Room -> its floor, counted from the top."""
    return {room: floor for floor, rooms in enumerate(layers(container)) for room in rooms}


def test_the_offline_rooms_are_drawn_as_they_are_held():
    floor, drawn = floors("calibrate"), arrows("calibrate")
    assert {room for arrow in drawn for room in arrow} == (set(floor) - {"__main__"}) | {"core"}
    assert all(floor[upper] < floor[lower] for upper, lower in drawn if lower != "core")


def test_the_rooms_of_the_core_are_drawn_as_they_are_held():
    floor, drawn = floors("headrouter_core"), arrows("headrouter_core")
    assert {room for arrow in drawn for room in arrow} == set(floor) - {"_version"}
    assert all(floor[upper] < floor[lower] for upper, lower in drawn)


def test_what_the_page_names_is_there():
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*/?)`", PAGE))
    named -= {"generate", "prune", *PACKAGES}
    assert len(named) > 40
    for name in named:
        end = name if name.endswith("/") else f"{name}.py"
        assert any(path for package in PACKAGES for path in (ROOT / package).rglob(end)), name
