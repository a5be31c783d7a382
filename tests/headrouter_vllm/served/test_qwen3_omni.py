"""Qwen3-Omni's thinker in vLLM against transformers, on a tiny random model with experts."""

from __future__ import annotations

import pytest
import torch

from . import omni3, pictures
from .conftest import make_engine
from .prompts import written
from .sides import BY_CONTENT, CLOSE, METHODS, Sides, profiled

AUDIO = "<|begin|><|pad|><|end_of_audio|>"
IMAGE, VIDEO = (f"<|vision_bos|><|{kind}|><|vision_eos|>" for kind in ("image", "video"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return omni3.write(tmp_path_factory.mktemp("omni3"))


@pytest.fixture(scope="module")
def reference(folder):
    from transformers import Qwen3OmniMoeThinkerForConditionalGeneration

    model = Qwen3OmniMoeThinkerForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    model.set_experts_implementation("eager")  # the grouped one has no float32 on CPU
    return model.eval()


@pytest.fixture(scope="module")
def _sides(folder, reference, tmp_path_factory):
    from transformers import AutoProcessor

    profile = profiled(reference, tmp_path_factory.mktemp("profile"))
    engine = make_engine(
        folder,
        {"profile": str(profile)},
        max_model_len=1024,
        limit_mm_per_prompt={"audio": 2, "image": 1, "video": 1},
        max_num_batched_tokens=64,  # in chunks, too
    )
    processor = AutoProcessor.from_pretrained(folder)
    return Sides(engine, reference, processor, profile, lone=written(AUDIO))


@pytest.mark.parametrize("ratio", [0, 0.6, 0.9])
@pytest.mark.parametrize("method", METHODS)
def test_pruned_it_is_prune_inputs(sides, method, ratio, record):
    asked = [(AUDIO, [12]), (AUDIO, [5.3])]
    if method in BY_CONTENT:
        asked.append((AUDIO + "and" + AUDIO, [4, 2.1]))
    worst = max(sides.differ(written(text), seconds, method, ratio) for text, seconds in asked)
    record("qwen3_omni_moe", method, ratio, len(asked), worst)
    assert worst < CLOSE


@pytest.mark.parametrize("ratio", [0, 0.6, 0.9])
@pytest.mark.parametrize("parts", pictures.PARTS)
def test_pictures_and_videos_stay_as_they_are(sides, parts, ratio, record):
    worst = pictures.differ(sides, parts, written, {"A": AUDIO, "I": IMAGE, "V": VIDEO}, ratio)
    record("qwen3_omni_moe with pictures", "frame", ratio, 1, worst)
    assert worst < CLOSE
