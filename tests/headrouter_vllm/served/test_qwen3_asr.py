"""Qwen3-ASR in vLLM against transformers with ``prune_inputs``, on a tiny random model."""

from __future__ import annotations

import pytest
import torch

from headrouter_core import (
    AdaptiveSegments,
    Frame,
    HeadRouter,
    Segments,
    families,
    load_profile,
    prune_inputs,
)

from ...headrouter_core.bundles import make_profile
from . import asr
from .conftest import make_engine
from .prompts import RATE, sound

CLOSE = 1e-4
PROMPT = (
    "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n<|begin|><|pad|><|end_of_audio|>what is said"
    "<|im_end|>\n<|im_start|>assistant\n"
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
def profile(reference, tmp_path_factory):
    """Return a profile of this very model: nothing is forced."""
    path = tmp_path_factory.mktemp("profile") / "asr.safetensors"
    make_profile(model=families.model_info(reference, 2)).save(path)
    return path


@pytest.fixture(scope="module")
def processor(folder):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def engine(folder, profile):
    return make_engine(
        folder,
        {"profile": str(profile)},
        max_model_len=1024,
        limit_mm_per_prompt={"audio": 1},
        max_num_batched_tokens=64,  # in chunks, too
    )


@pytest.mark.parametrize("ratio", [0, 0.6, 0.9])
@pytest.mark.parametrize("kind", [Frame, Segments, HeadRouter, AdaptiveSegments])
@torch.no_grad()
def test_pruned_it_is_prune_inputs(
    engine, reference, processor, profile, kept, kind, ratio, record
):
    from vllm import SamplingParams

    asked = SamplingParams(temperature=0, max_tokens=4, logprobs=5)
    reads = kind in (HeadRouter, AdaptiveSegments)
    selector = kind(load_profile(profile)) if reads else kind()
    worst = 0.0
    for seconds in (12, 5.3):
        kept.clear()
        audio = sound(0, seconds)
        settings = {"ratio": ratio, "method": selector.name}
        given = {
            "prompt": PROMPT,
            "multi_modal_data": {"audio": (audio, RATE)},
            "mm_processor_kwargs": {"headrouter": settings},
        }
        (output,) = engine.generate([given], asked, use_tqdm=False)
        inputs = processor(text=PROMPT, audio=audio, sampling_rate=RATE, return_tensors="pt")
        layer = 2 if reads else 0
        pruned = prune_inputs(reference, dict(inputs), selector, ratio, layer, per_audio=True)
        logprobs = reference(**pruned).logits[0, -1].log_softmax(-1)
        assert len(output.prompt_token_ids) == pruned["inputs_embeds"].shape[1]
        assert kept == [pruned.trace[0].kept.tolist()]
        first = output.outputs[0].logprobs[0]
        worst = max(
            worst, *(abs(logprobs[token].item() - told.logprob) for token, told in first.items())
        )
    record(f"qwen3_asr: {selector.name}", ratio, 2, worst)
    assert worst < CLOSE


@torch.no_grad()
def test_positions_are_seen_to_count(reference, processor):
    """Renumbered positions, which vLLM would give by itself, are further off than is allowed."""
    inputs = processor(text=PROMPT, audio=sound(0, 12), sampling_rate=RATE, return_tensors="pt")
    pruned = prune_inputs(reference, dict(inputs), Frame(), 0.9)
    anew = {**pruned, "position_ids": torch.arange(pruned["inputs_embeds"].shape[1])[None]}
    one, two = (reference(**given).logits[0, -1].log_softmax(-1) for given in (pruned, anew))
    assert (one - two).abs().max() > 100 * CLOSE
