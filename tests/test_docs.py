"""What is written down is what was measured and what the program says."""

import gzip
import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docs import make_demo, make_readme, make_vllm
from headrouter_core.profile.profile import Profile
from headrouter_vllm.families import FAMILIES
from headrouter_vllm.settings import BY_CONTENT, METHODS
from tiny_omni import MODEL_DIR

ROOT = Path(__file__).parent.parent


def test_readme_tables_are_fresh():
    text = (ROOT / "README.md").read_text("utf-8")
    assert make_readme.readme(text) == text


def test_results_are_fresh():
    text = (ROOT / "docs" / "results.md").read_text("utf-8")
    assert make_readme.results_page(text) == text


def test_a_place_that_is_missing_is_named():
    with pytest.raises(ValueError, match="0 places for 'table'"):
        make_readme.filled("no marks", {"table": "| 1 |"})


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 600


@pytest.fixture(scope="module")
def demo():
    return json.loads(make_demo.RECORD.read_text("utf-8"))


def without_measures(printed):
    """What ``prune`` says before the timeline, without what rounding and machines decide."""
    lines = printed.partition("\n\n")[0].splitlines()
    return [
        re.sub(r"\d+(\.\d+)?", "#", line) if re.match("  (routing|prefill)", line) else line
        for line in lines
    ]


def test_the_demo_prints_what_is_shown(demo):
    assert demo["command"] == make_demo.COMMAND
    assert without_measures(make_demo.printed()) == without_measures(demo["printed"])


def test_the_demo_is_answered_as_shown(demo):
    assert [asked["question"] for asked in demo["asked"]] == list(make_demo.QUESTIONS)
    for shown in demo["asked"]:
        asked = make_demo.ask(shown["question"])
        kept, before = asked["kept"], shown["kept"]
        assert {**asked, "kept": len(kept)} == {**shown, "kept": len(before)}
        # on other processors rounding may decide between tokens that are alike
        assert len(set(kept) & set(before)) >= 0.9 * len(before)


def test_the_picture_shows_the_demo(demo):
    files = (make_demo.PICTURE, BytesIO(make_demo.picture(demo["asked"])))
    kept, made = (np.asarray(Image.open(file).convert("RGB"), dtype=int) for file in files)
    assert make_demo.PICTURE.stat().st_size < 150_000
    assert kept.shape == made.shape
    # below the spectrogram, whose sums may round otherwise, there are tokens and answers
    below = kept.shape[0] // 2
    assert np.abs(kept - made)[below:].max() <= 32


def test_profile_card_is_fresh():
    text = (ROOT / "profiles" / "tiny-omni.md").read_text("utf-8")
    assert (
        make_readme.card(Profile.load(ROOT / "profiles" / "tiny-omni.safetensors"), "tiny-omni")
        == text
    )


def test_model_card_is_fresh():
    from safetensors import safe_open

    from tiny_omni import card

    training = json.loads((MODEL_DIR / "training.json").read_text("utf-8"))
    results = json.loads(card.RESULTS.read_text("utf-8"))
    with safe_open(MODEL_DIR / "model.safetensors", "pt") as weights:
        names = weights.keys()
        parameters = sum(weights.get_tensor(name).numel() for name in names)
    expected = card.card(training, results, parameters)
    assert (MODEL_DIR / "README.md").read_text("utf-8") == expected


def test_shipped_profile_belongs_to_the_shipped_model():
    from calibrate.models.named import load
    from headrouter_core import load_profile
    from headrouter_core.families import model_info

    profile = load_profile("tiny-omni")
    info = model_info(load("tiny-omni", device="cpu").model, profile.recipe.layer)
    profile.check_model(info)


def test_no_file_names_this_machine():
    tracked = [*ROOT.glob("*.md"), *ROOT.glob("docs/*"), *ROOT.glob("profiles/*")]
    tracked += [
        *ROOT.glob("benchmarks/results/**/*.json*"),
        ROOT / "pyproject.toml",
        ROOT / "Makefile",
    ]
    for path in tracked:
        if path.is_file():
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            assert not re.search(rb"/(work|root|home)/", content), path


def test_tables_of_vllm_are_fresh():
    text = make_vllm.PAGE.read_text("utf-8")
    assert make_vllm.page(text) == text


def test_what_vllm_was_measured_on_is_complete():
    rows = json.loads(make_vllm.EQUALITY.read_text("utf-8"))["rows"]
    assert all(row["worst"] < 1e-4 for row in rows)
    positions = {family.name: family.positions for family in FAMILIES}
    for name in positions.keys() & {row["family"] for row in rows}:
        methods = BY_CONTENT if positions[name] == "renumbered" else METHODS
        found = {row["method"] for row in rows if row["family"] == name and row["ratio"] == 0.6}
        assert found.issuperset(methods), name
