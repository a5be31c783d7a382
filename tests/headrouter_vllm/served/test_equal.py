"""vLLM with headrouter against transformers with ``prune_inputs``, in float32."""

from __future__ import annotations

import warnings

import pytest
import torch

from headrouter_core import prune_inputs

from .conftest import selector
from .prompts import QUESTIONS, Question

#: Largest difference of log-probabilities.
CLOSE = 1e-4
NEW = 6


def answers(engine, questions):
    """Return vLLM's outputs: greedy, with the first tokens' log-probabilities."""
    from vllm import SamplingParams

    asked = SamplingParams(temperature=0, max_tokens=NEW, logprobs=5)
    return engine.generate([one.for_vllm() for one in questions], asked, use_tqdm=False)


@torch.no_grad()
def expected(reference, processor, question):
    """Return transformers' pruned prompt, its next log-probabilities [V] and its greedy ids."""
    given = question.for_transformers(processor)
    settings = dict(question.settings or {})
    ratio, method = settings.pop("ratio", 0), settings.pop("method", "frame")
    chooser, layer = selector(method, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a forced profile
        pruned = prune_inputs(reference, given, chooser, ratio, layer, per_audio=True, force=True)
    logits = reference(**pruned).logits[0, -1]
    ids = reference.generate(**pruned, max_new_tokens=NEW, do_sample=False)[0]
    return pruned, logits.log_softmax(-1), ids.tolist()


def compare(output, wanted):
    """Return the largest difference of log-probabilities, having compared all else."""
    pruned, logprobs, ids = wanted
    assert len(output.prompt_token_ids) == pruned["inputs_embeds"].shape[1]
    said = list(output.outputs[0].token_ids)
    assert said == ids[: len(said)]
    first = output.outputs[0].logprobs[0]
    return max(abs(logprobs[token].item() - told.logprob) for token, told in first.items())


def local(kept_of_prompt, counts):
    """Return indices into each audio of indices into all of a prompt's audio tokens."""
    parts, start = [], 0
    for count in counts:
        inside = (kept_of_prompt >= start) & (kept_of_prompt < start + count)
        parts.append((kept_of_prompt[inside] - start).tolist())
        start += count
    return parts


METHODS = {
    "frame": {"method": "frame"},
    "segments": {"method": "segments"},
    "segments, other settings": {"method": "segments", "change": 0.5, "merge": 1},
    "headrouter": {"method": "headrouter"},
    "adaptive_segments": {"method": "adaptive_segments"},
}


def questions(settings, ratio):
    """Return the questions that a method takes."""
    asks = settings["method"] in ("headrouter", "adaptive_segments")
    return [
        Question(parts, text, {**settings, "ratio": ratio})
        for parts, text in QUESTIONS
        if len(parts) == 1 or not asks
    ]


def test_without_pruning_the_answers_are_transformers(engine, reference, processor, record):
    asked, worst = [Question(parts, text) for parts, text in QUESTIONS], 0.0
    for question, output in zip(asked, answers(engine, asked), strict=True):
        given = question.for_transformers(processor)
        assert list(output.prompt_token_ids) == given["input_ids"][0].tolist()
        with torch.no_grad():
            ids = reference.generate(**given, max_new_tokens=NEW, do_sample=False)[0]
        said = list(output.outputs[0].token_ids)
        assert said == ids[given["input_ids"].shape[1] :].tolist()[: len(said)]
        wanted = expected(reference, processor, question)
        worst = max(worst, compare(output, wanted))
    record("qwen2_5_omni", "any", 0, len(asked), worst)
    assert worst < CLOSE


@pytest.mark.parametrize("ratio", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("method", METHODS)
def test_pruned_it_is_prune_inputs(engine, reference, processor, kept, method, ratio, record):
    asked = questions(METHODS[method], ratio)
    outputs = [answers(engine, [question])[0] for question in asked]
    chosen, worst = iter(kept), 0.0
    for question, output in zip(asked, outputs, strict=True):
        wanted = expected(reference, processor, question)
        worst = max(worst, compare(output, wanted))
        counts = [int(len(audio) / 16000 * 25) for audio in question.audios]
        trace = wanted[0].trace[0]
        assert trace.audio_tokens == sum(counts)
        assert [next(chosen) for _ in counts] == local(trace.kept, counts)
    assert next(chosen, None) is None
    record("qwen2_5_omni", method, ratio, len(asked), worst)
    assert worst < CLOSE


def test_a_batch_of_unequal_requests(engine, reference, processor):
    """Different lengths, methods and ratios in the same steps."""
    methods = [*METHODS.values(), {"method": "frame"}]
    ratios = (0.9, 0.3, 0.6, 0.95, 0.6, 0)
    asked = [
        Question(((0, 3 + number),), text, {**settings, "ratio": ratio})
        for number, (settings, ratio, (_, text)) in enumerate(
            zip(methods, ratios, (*QUESTIONS, *QUESTIONS), strict=False)
        )
    ]
    for question, output in zip(asked, answers(engine, asked), strict=True):
        assert compare(output, expected(reference, processor, question)) < CLOSE
