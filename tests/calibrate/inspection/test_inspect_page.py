"""``headrouter inspect --page``."""

import re

import pytest
from typer.testing import CliRunner

from calibrate.cli import app
from tests.headrouter_core.checking.bundles import make_calibration, make_info, make_profile

ODD = "<script>alert(1)</script>\"'&\u202e\udc80"


def invoke(*arguments):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def test_it_holds_all_it_shows(tmp_path):
    path = tmp_path / "p.html"
    done = invoke("tiny-omni", "--page", path)
    assert done.exit_code == 0, done.stderr
    assert f"Wrote {path}" in done.stdout
    text = path.read_text("utf-8")
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:|//|/)""", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert text.count("<rect") == 3 * 16
    assert "Compared with uniform weights: better at 0.9; a tie at 0.6." in text
    assert "semantic center 0.050 [0.045, 0.058]" in text


def test_names_are_data(tmp_path):
    profile = make_profile(
        model=make_info(id=ODD),
        calibration=make_calibration(
            tasks=[ODD, "events"],
            sample_tasks=[ODD, "events", ODD],
            groups={ODD: "semantic", "events": "acoustic"},
        ),
        versions={ODD: ODD},
    )
    profile.save(tmp_path / "p.safetensors")
    done = invoke(tmp_path / "p.safetensors", "--page", tmp_path / "p.html")
    assert done.exit_code == 0, done.stderr
    text = (tmp_path / "p.html").read_text("utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\u202e" not in text


def test_a_profile_made_by_hand_has_a_page_too(tmp_path):
    make_profile(results={}).save(tmp_path / "p.safetensors")
    done = invoke(tmp_path / "p.safetensors", "--page", tmp_path / "p.html")
    assert done.exit_code == 0, done.stderr
    assert "No verdict" in (tmp_path / "p.html").read_text("utf-8")


@pytest.mark.parametrize("name", ["x.txt", "x", "x.html.png"])
def test_names_that_are_no_page_are_refused_before_the_profile_is_read(tmp_path, name):
    done = invoke("nothing", "--page", tmp_path / name)
    assert done.exit_code == 2
    assert "name that ends in .html" in done.stderr


def test_an_existing_page_is_replaced_only_by_force(tmp_path):
    path = tmp_path / "p.html"
    path.write_text("mine")
    assert invoke("nothing", "--page", path).exit_code == 2
    assert path.read_text() == "mine"
    assert invoke("tiny-omni", "--page", path, "--force").exit_code == 0
    assert path.read_text("utf-8").startswith("<!doctype html>")
