"""No profile that loads can crash what reads it, and nothing in it is more than data."""

import json
import random
import re

import pytest
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.inspection import contents
from calibrate.inspection.plot import draw
from headrouter_core.errors import ProfileError, UsageError
from headrouter_core.profile import bundle
from headrouter_core.profile.profile import Profile
from headrouter_core.selectors import HeadRouter
from tests.headrouter_core.checking.bundles import (
    join,
    make_calibration,
    make_info,
    make_profile,
    make_results,
    make_tensors,
    split,
)

#: What may come where something else was.
STRANGE = (
    None, True, 0, -1, 3, 1.5, -0.25, 1e300, 10**400, "", "x", "0.6", "[bold]", "$\\frac$",
    "\x1b[2J", "\ud800", "a\nb", [], [1], [[]], ["x", 2], {}, {"x": 1}, {"nll": 0.5},
)  # fmt: skip


#: What newer reports say of a comparison.
BASIS = {
    "carried_by": 7,
    "items": {"better": 9, "worse": 3, "largest": 0.5, "task": "digits", "task_share": 0.4},
    "answers": {"won": 3, "lost": 5, "p": 0.73},
    "divergence": {"difference": 0.1, "low": 0.0, "high": 0.2},
}


def whole():
    results = make_results(("headrouter", "uniform weights", "frame", "adaptive segments"))
    (entry, *_) = results["ratios"].values()
    compared = {"difference": 0.1, "low": 0.0, "high": 0.2, "verdict": "tie", **BASIS}
    entry["comparisons"] = [{"method": "headrouter", "rival": "frame", **compared}]
    results["routing"] = {
        "route": "auto",
        **dict.fromkeys(("pooled", "oracle", "mixture", "uniform", "auc", "semantic"), 0.5),
        "unseen_task": {"spread": 0.5, "selectivity": None},
        "bandwidth": {"factor": 4.0, "at_edge": True, "wider_than_centers": True},
        "comparisons": [{"method": "mixture", "rival": "pooled", **compared}],
    }
    results["stability"] |= {
        "large": {"choices": {"route": "auto"}},
        "small": {"0": {"choices": {"route": "pooled"}}},
    }
    profile = make_profile(
        calibration=make_calibration(intervals={"centers.semantic": [0.1, 0.2]}),
        results=results,
    )
    return profile.metadata()


def places(value, path=()):
    yield path
    inner = value if isinstance(value, dict | list) else ()
    for key, part in inner.items() if isinstance(inner, dict) else enumerate(inner):
        yield from places(part, (*path, key))


def changed(metadata, draw):
    """One place of the metadata gone, doubled, renamed, or something else."""
    metadata = json.loads(json.dumps(metadata))
    *path, key = draw.choice([path for path in places(metadata) if path])
    inner = metadata
    for step in path:
        inner = inner[step]
    act = draw.randrange(4)
    if act == 0:
        del inner[key]
    elif act == 1 and isinstance(inner, dict):
        inner[str(draw.choice(STRANGE))] = inner.pop(key)
    elif act == 2 and isinstance(inner, list):
        inner.append(inner[key])
    else:
        inner[key] = draw.choice(STRANGE)
    return metadata


def read_by_all(profile, tmp_path, capsys):
    warned = contents._warned(contents.warnings(profile))
    contents._show([*contents._everything(profile, "x"), *contents.screen(profile, "x"), *warned])
    assert "\x1b" not in capsys.readouterr().out
    contents.show_json(contents.to_json(profile))
    json.loads(capsys.readouterr().out)
    HeadRouter(profile)
    profile.check_model(make_info(heads=profile.model.heads), force=True)
    profile.save(tmp_path / "again.safetensors", force=True)


@pytest.mark.filterwarnings("ignore:.*has no checksum")
def test_metadata_of_any_shape_is_refused_or_shown(tmp_path, capsys):
    metadata, draw_ = whole(), random.Random(0)
    header, data = split(bundle.to_bytes(make_tensors(), metadata))
    path, loaded = tmp_path / "p.safetensors", 0
    for _ in range(800):
        strange = metadata
        for _ in range(draw_.choice((1, 1, 1, 2, 3))):
            strange = changed(strange, draw_)
        text = json.dumps(strange)
        path.write_bytes(join(header | {"__metadata__": {"headrouter": text}}, data))
        try:
            profile = Profile.load(path)
        except ProfileError:
            continue
        read_by_all(profile, tmp_path, capsys)
        if loaded % 40 == 0:
            draw(profile)  # a second each
        loaded += 1
    assert loaded > 50


@pytest.mark.parametrize("results", [{"nll": {"routed": 0.5}}, {"ratios": {}}, {"samples": "many"}])
def test_results_of_another_shape_are_refused(results):
    with pytest.raises(ProfileError, match="results lacks"):
        make_profile(results=results)


def test_a_profile_without_samples_is_shown_and_not_drawn(tmp_path, capsys):
    empty = make_calibration(samples=[], sample_tasks=[], tasks=[], groups={}, manifest=None)
    profile = make_profile(tensors=make_tensors(samples=0, tasks=0), calibration=empty, results={})
    read_by_all(profile, tmp_path, capsys)
    with pytest.raises(UsageError, match="nothing to plot"):
        draw(profile)


@pytest.mark.filterwarnings("error")
def test_a_task_without_samples_and_a_group_without_any(tmp_path, capsys):
    profile = make_profile(
        calibration=make_calibration(
            sample_tasks=["digits"] * 3, groups={"digits": "semantic", "events": "semantic"}
        )
    )
    read_by_all(profile, tmp_path, capsys)
    assert draw(profile).startswith(b"\x89PNG")


ODD = "[bold]x[/] $\\frac{1}$ :smile: \x1b[31m\u202e\udc80"
SHOWN = r"[bold]x[/] $\frac{1}$ :smile: \x1b[31m\u202e\udc80"


def odd_profile():
    return make_profile(
        model=make_info(id=ODD),
        calibration=make_calibration(
            tasks=[ODD, "events"],
            sample_tasks=[ODD, "events", ODD],
            groups={ODD: "semantic", "events": "acoustic"},
            decoder=ODD,
        ),
        versions={ODD: ODD},
        results=make_results((ODD, "frame")),
    )


def test_names_are_data_on_every_surface(tmp_path):
    odd_profile().save(tmp_path / "p.safetensors")
    plot = tmp_path / "p.png"
    done = CliRunner().invoke(
        app, ["inspect", str(tmp_path / "p.safetensors"), "--all", "--plot", str(plot)]
    )
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count(SHOWN) >= 5
    assert not re.search("[\x1b\u202e\udc80]", done.stdout)
    assert plot.read_bytes().startswith(b"\x89PNG")
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / "p.safetensors"), "--json"])
    assert json.loads(done.stdout)["model"]["id"] == ODD
    assert not re.search("[\x1b\u202e\udc80]", done.stdout)


@pytest.mark.parametrize("name", ["x.jpg", "x", "x.png.exe", "x.PNG/y.pdf"])
def test_pictures_that_are_not_drawn_are_refused_before_the_profile_is_read(tmp_path, name):
    done = CliRunner().invoke(app, ["inspect", "nothing", "--plot", str(tmp_path / name)])
    assert done.exit_code == 2
    assert "plots are PNG files" in done.stderr


def test_a_plot_over_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "p.png").symlink_to("real/p.png")
    (tmp_path / "real" / "p.png").write_text("old")
    done = CliRunner().invoke(
        app, ["inspect", "tiny-omni", "--plot", str(tmp_path / "p.png"), "--force"]
    )
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "p.png").is_symlink()
    assert (tmp_path / "real" / "p.png").read_bytes().startswith(b"\x89PNG")
