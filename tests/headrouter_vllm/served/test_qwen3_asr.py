"""Qwen3-ASR in vLLM against transformers with ``prune_inputs``, on a tiny random model."""

from __future__ import annotations

import pytest
import torch

from headrouter_core import Frame, prune_inputs

from . import asr
from .conftest import make_engine
from .sides import CLOSE, METHODS, Sides, profiled

PROMPT = (
    "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n<|audio_start|><|audio_pad|><|audio_end|>"
    "what is said<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return asr.write(tmp_path_factory.mktemp("asr"))


@pytest.fixture(scope="module")
def reference(folder):
    from transformers import Qwen3ASRForConditionalGeneration

    model = Qwen3ASRForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def _sides(folder, reference, tmp_path_factory):
    from transformers import AutoProcessor

    profile = profiled(reference, tmp_path_factory.mktemp("profile"))
    engine = make_engine(
        folder,
        {"profile": str(profile)},
        max_model_len=1024,
        limit_mm_per_prompt={"audio": 1},
        max_num_batched_tokens=64,  # in chunks, too
    )
    return Sides(engine, reference, AutoProcessor.from_pretrained(folder), profile, lone=PROMPT)


@pytest.mark.parametrize("ratio", [0, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("method", METHODS)
def test_pruned_it_is_prune_inputs(sides, method, ratio, record):
    worst = max(sides.differ(PROMPT, [seconds], method, ratio) for seconds in (12, 5.3))
    record("qwen3_asr", method, ratio, 2, worst)
    assert worst < CLOSE


@torch.no_grad()
def test_positions_are_seen_to_count(sides, reference):
    """Renumbered positions, which vLLM would give by itself, are further off than is allowed."""
    pruned = prune_inputs(reference, sides.inputs(PROMPT, [12]), Frame(), 0.9)
    anew = {**pruned, "position_ids": torch.arange(pruned["inputs_embeds"].shape[1])[None]}
    one, two = (reference(**given).logits[0, -1].log_softmax(-1) for given in (pruned, anew))
    assert (one - two).abs().max() > 100 * CLOSE
