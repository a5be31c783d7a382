"""Pictures: which there are, and that they show what they say."""

import io

import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure
from PIL import Image

from calibrate.evaluation.comparing.costs import costs_of
from calibrate.evaluation.folder import Folder
from calibrate.evaluation.scoring.systems import VANILLA
from calibrate.evaluation.showing.examples import _packed, unpacked
from calibrate.evaluation.showing.plots import examples_drawn, heads, kept, pictures, write_all
from calibrate.evaluation.showing.plots.canvas import styles
from calibrate.evaluation.showing.plots.scores import front
from headrouter_core.errors import HeadRouterError
from tests.calibrate.evaluation import made_up


@pytest.fixture(scope="module")
def found():
    return made_up.results(number=4)


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path)
    folder.sounds.mkdir()
    for number in range(2):
        soundfile.write(folder.sounds / f"{number}-0.flac", made_up.sound(), 16_000)
    return folder


@pytest.fixture
def painted(monkeypatch):
    """The figures that are painted, in place of files."""
    figures = []

    def draw(height, dark, paint):
        figure = Figure()
        paint(figure)
        figures.append(figure)
        return b""

    for module in ("scores", "heads", "kept"):
        monkeypatch.setattr(f"calibrate.evaluation.showing.plots.{module}.draw", draw)
    return figures


def test_files_of_every_picture(found, folder):
    timing = made_up.timing(peak=2**30)
    write_all(found, timing, made_up.examples(found), folder)
    names = {path.stem for path in folder.plots.iterdir()}
    assert names == {
        "score-by-ratio",
        "score-by-ratio-variants",
        "score-by-prefill",
        "score-by-memory",
        "routing",
        "selectivity",
        "samples",
        "kept-0",
        "kept-1",
    }
    for path in folder.plots.iterdir():
        with Image.open(path) as image:
            assert image.width == 1008
            assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_dark_pictures_are_dark(found):
    content = pictures(found, {}, dark=True)["selectivity"]
    with Image.open(io.BytesIO(content)) as image:
        assert max(image.convert("RGB").getpixel((0, 0))) < 40


def test_what_there_is_no_data_for_is_not_drawn(painted):
    found = made_up.results(("frame", "random"), number=2)
    assert list(pictures(found, {}, False)) == ["score-by-ratio", "selectivity", "samples"]
    assert "score-by-memory" not in pictures(found, made_up.timing(("frame", "random")), False)


def test_scores_by_ratio_are_the_averages(found, painted):
    pictures(found, {}, False)
    (axes,) = painted[0].axes
    drawn = {container.get_label(): container for container in axes.containers}
    assert set(drawn) == {"headrouter", "frame", "random"}
    for method, container in drawn.items():
        rows = [found.averages[method, ratio]["percent_of_vanilla"] for ratio in found.ratios]
        assert container.lines[0].get_ydata().tolist() == [row["value"] for row in rows]
        (bars,) = container.lines[2]
        ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
        assert ends == [pytest.approx([row["low"], row["high"]]) for row in rows]


def test_the_front_is_what_nothing_beats():
    points = [(3, 90.0), (1, 50.0), (2, 80.0), (2, 70.0), (4, 90.0), (2.5, 60.0), (5, np.nan)]
    assert front(points) == [(1, 50.0), (2, 80.0), (3, 90.0)]


def test_costs_are_means_over_items():
    timing = made_up.timing(peak=2**30)
    second = {
        **timing["items"][0],
        "systems": [[1.0, 1.0, 3.0, 1.0, 2**31]] * len(timing["systems"]),
    }
    timing["items"].append(second)
    cost = costs_of(timing)[VANILLA]
    first = timing["items"][0]["systems"][0]
    assert cost.prefill_seconds == pytest.approx((first[2] + 3) / 2)
    assert cost.peak_bytes == pytest.approx((first[4] + 2**31) / 2)
    assert costs_of({}) == {}
    assert costs_of({**timing, "items": []}) == {}


def test_routing_bars_are_mean_mixings(found, painted):
    assert heads.routed_method(found) == "headrouter"
    heads.routing(found, "headrouter", False)
    widths = [[bar.get_width() for bar in group] for group in painted[0].axes[0].containers]
    np.testing.assert_allclose(np.sum(widths, axis=0), 1, atol=1e-3)
    mine = [record for record in found.items if record["task"] == "event"]
    semantic = [r["routing"][r["replies"][1][2]][1][0] for r in mine]
    assert widths[0][1] == pytest.approx(np.mean(semantic))


def test_the_heatmap_is_the_mean_of_each_task(found, painted):
    heads.heatmap(found, False)
    image = painted[0].axes[0].images[0].get_array()
    rows = [r["selectivity"] for r in found.items if r["task"] == "event"]
    np.testing.assert_allclose(image[1], np.mean(rows, axis=0))


def test_the_plane_keeps_the_largest_variance(found, painted):
    heads.plane(found, False)
    axes = painted[0].axes[0]
    places = np.concatenate([points.get_offsets() for points in axes.collections])
    selectivity = np.array([record["selectivity"] for record in found.items])
    values = np.linalg.eigvalsh(np.cov(selectivity.T))[::-1]
    np.testing.assert_allclose(places.var(axis=0, ddof=1), values[:2], rtol=1e-6)
    assert axes.get_xlabel() == f"{values[0] / values.sum():.0%} of the variance"


def test_one_sample_is_a_point(painted):
    heads.plane(made_up.results(("frame",), (0.9,), ("event",), number=1), False)
    assert painted[0].axes[0].collections[0].get_offsets().tolist() == [[0, 0]]


def test_masks_come_back():
    for kept_tokens in ([0, 3, 12], [12], list(range(13))):
        mask = unpacked(_packed(np.array(kept_tokens), 13), 13)
        assert np.flatnonzero(mask).tolist() == kept_tokens


def test_kept_tokens_lie_where_they_sound(painted):
    """Two recordings of 1 and 2 s: the second one's tokens come behind all of the first."""
    example = {
        "audios": [
            {"seconds": 1.0, "audio_tokens": 25},
            {"seconds": 2.0, "audio_tokens": 50},
        ],
    }
    masks = {name: np.zeros(75, bool) for name in ("frame", "random")}
    masks["frame"][[0, 1, 24, 25, 74]] = True
    sounds = [made_up.sound(1.0), made_up.sound(2.0)]
    looks = styles(["frame", "random"])
    kept.kept_tokens(example, masks, looks, sounds, 16_000, 0.04, "two", False)
    stripes = painted[0].axes[1].collections
    ends = [
        [path.vertices[:, 0].min(), path.vertices[:, 0].max()] for path in stripes[0].get_paths()
    ]
    np.testing.assert_allclose(ends, [[0, 0.08], [0.96, 1], [1, 1.04], [2.96, 3]])
    assert not stripes[1].get_paths()


def test_sound_that_is_gone_or_damaged(found, folder):
    examples = made_up.examples(found)
    (folder.sounds / "1-0.flac").write_bytes(b"no sound")
    with pytest.raises(HeadRouterError, match="damaged"):
        examples_drawn(found, examples, folder, False)
    (folder.sounds / "0-0.flac").unlink()
    with pytest.raises(HeadRouterError, match="run headrouter evaluate again"):
        examples_drawn(found, examples, folder, False)


def test_a_method_looks_the_same_everywhere():
    looks = styles(["headrouter", "frame", "random", "headrouter:hard"])
    assert looks["frame"]["linestyle"] == "--"
    assert looks["random"] == styles(["headrouter", "random"])["random"]
    assert looks["headrouter:hard"]["color"] != looks["headrouter"]["color"]
