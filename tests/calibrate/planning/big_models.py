"""Folders of models as large as the released ones, without weights."""

import json
from pathlib import Path

from transformers import WhisperFeatureExtractor

from benchmarks.subjects.models import thinker_config
from benchmarks.subjects.shapes import SHAPES
from tiny_omni.architecture import make_tokenizer
from tiny_omni.questions import corpus


def save_config(name: str, folder: Path) -> Path:
    """Write the configuration of a released thinker, and a front end of its arithmetic.

    The tokenizer is tiny-omni's: its text tokens are others than the released model's, which does
    not matter to what is counted.
    """
    thinker = json.loads(thinker_config(SHAPES[name]).to_json_string(use_diff=False))
    whole = {
        "model_type": "qwen2_5_omni",
        "architectures": ["Qwen2_5OmniModel"],
        "thinker_config": {**thinker, "dtype": SHAPES[name].dtype},
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(whole))
    tokenizer = make_tokenizer(corpus())
    tokenizer.model_max_length = 32_768
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=128, chunk_length=300).save_pretrained(folder)
    return folder
