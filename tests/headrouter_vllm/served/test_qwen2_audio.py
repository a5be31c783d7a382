"""Qwen2Audio in vLLM, with renumbered positions, on a tiny random model."""

from __future__ import annotations

import pytest

from .prompts import written
from .renumbered import both
from .sides import BY_CONTENT, CLOSE

AUDIO = "<|begin|><|pad|><|end_of_audio|>"


@pytest.fixture(scope="module")
def _sides(tmp_path_factory):
    from transformers import Qwen2AudioForConditionalGeneration

    folder = tmp_path_factory.mktemp("qwen2_audio")
    return both("qwen2_audio", Qwen2AudioForConditionalGeneration, folder, written(AUDIO), 2)


@pytest.mark.parametrize("ratio", [0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("method", BY_CONTENT)
def test_pruned_it_is_prune_inputs_numbered_anew(sides, method, ratio, record):
    asked = [(AUDIO, [12]), (AUDIO, [5.3]), (f"{AUDIO}and{AUDIO}", [4, 2.1])]
    worst = max(sides.differ(written(text), seconds, method, ratio) for text, seconds in asked)
    record("qwen2_audio", method, ratio, len(asked), worst)
    assert worst < CLOSE
