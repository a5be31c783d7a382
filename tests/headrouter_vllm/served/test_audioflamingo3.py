"""AudioFlamingo3 in vLLM, with renumbered positions, on a tiny random model."""

from __future__ import annotations

import pytest

from .prompts import written
from .renumbered import both
from .sides import BY_CONTENT, CLOSE

AUDIO = "<|pad|>"


@pytest.fixture(scope="module")
def _sides(tmp_path_factory):
    from transformers import AudioFlamingo3ForConditionalGeneration

    folder = tmp_path_factory.mktemp("audioflamingo3")
    return both("audioflamingo3", AudioFlamingo3ForConditionalGeneration, folder, written(AUDIO), 1)


@pytest.mark.parametrize("ratio", [0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("method", BY_CONTENT)
def test_pruned_it_is_prune_inputs_numbered_anew(sides, method, ratio, record):
    asked = [(AUDIO, [12]), (AUDIO, [5.3])]
    worst = max(sides.differ(written(text), seconds, method, ratio) for text, seconds in asked)
    record("audioflamingo3", method, ratio, len(asked), worst)
    assert worst < CLOSE
