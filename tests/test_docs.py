"""What is written down is what was measured and what the program says."""

import gzip
import json
import re
from pathlib import Path

from docs import make_readme
from headrouter_core.profile import Profile
from tiny_omni import MODEL_DIR

ROOT = Path(__file__).parent.parent


def test_readme_tables_are_fresh():
    text = (ROOT / "README.md").read_text("utf-8")
    assert make_readme.readme(text) == text


def test_profile_card_is_fresh():
    text = (ROOT / "profiles" / "tiny-omni.md").read_text("utf-8")
    assert make_readme.card(Profile.load(ROOT / "profiles" / "tiny-omni.safetensors")) == text


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
    from calibrate.models import load
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
