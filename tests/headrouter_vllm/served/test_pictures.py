"""Qwen2.5-Omni hears, and sees, in one prompt: vLLM against transformers."""

from __future__ import annotations

import pytest

from . import pictures
from .conftest import make_engine
from .prompts import Question
from .sides import CLOSE, Sides

TOKENS = {
    "A": "<|audio_bos|><|AUDIO|><|audio_eos|>",
    "I": "<|vision_bos|><|IMAGE|><|vision_eos|>",
    "V": "<|vision_bos|><|VIDEO|><|vision_eos|>",
}


def written(parts):
    return Question((), f"{parts}Which keyword is spoken?").written


@pytest.fixture(scope="module")
def _sides(checkpoint, reference, processor):
    engine = make_engine(
        checkpoint,
        {},
        max_model_len=8192,
        limit_mm_per_prompt={"audio": 2, "image": 1, "video": 1},
        max_num_batched_tokens=2048,
    )
    return Sides(engine, reference, processor, lone=written(TOKENS["A"]))


@pytest.mark.parametrize("ratio", [0, 0.6, 0.9])
@pytest.mark.parametrize("parts", pictures.PARTS)
def test_pictures_and_videos_stay_as_they_are(sides, parts, ratio, record):
    worst = pictures.differ(sides, parts, written, TOKENS, ratio)
    record("qwen2_5_omni with pictures", "frame", ratio, 1, worst)
    assert worst < CLOSE
