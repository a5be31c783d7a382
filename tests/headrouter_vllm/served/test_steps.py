"""Prompts read in chunks, prefixes that were read before, and the blocks that all take."""

from __future__ import annotations

from contextlib import contextmanager
from math import ceil

import pytest

from headrouter_core.scoring import keep_count
from headrouter_vllm.errors import RequestError

from .conftest import make_engine
from .prompts import QUESTIONS, Question
from .test_equal import CLOSE, METHODS, answers, compare, expected

CHUNK, BLOCK = 48, 32
WHICH, WHERE = "Which keyword is spoken?", "Is it said in a car, a park or a shop?"


@pytest.fixture(scope="module")
def stepping(checkpoint):
    return make_engine(
        checkpoint, max_num_batched_tokens=CHUNK, block_size=BLOCK, enable_prefix_caching=True
    )


@pytest.fixture(autouse=True)
def _forgotten(stepping):
    stepping.reset_prefix_cache()


@contextmanager
def watched(engine):
    """Yield lists of the tokens of each step, and of the blocks in use after it was laid out."""
    scheduler = engine.llm_engine.engine_core.engine_core.scheduler
    plain, pool = scheduler.schedule, scheduler.kv_cache_manager.block_pool
    before = pool.get_num_free_blocks()
    steps, blocks = [], []

    def noting(*args, **kwargs):
        laid = plain(*args, **kwargs)
        steps.append(laid.total_num_scheduled_tokens)
        blocks.append(before - pool.get_num_free_blocks())
        return laid

    scheduler.schedule = noting
    try:
        yield steps, blocks
    finally:
        scheduler.schedule = plain


@pytest.mark.parametrize("method", METHODS)
def test_chunks_of_a_prompt(stepping, reference, processor, method):
    question = Question(((0, 12),), WHICH, {**METHODS[method], "ratio": 0.6})
    with watched(stepping) as (steps, _):
        (output,) = answers(stepping, [question])
    prompt = len(output.prompt_token_ids)
    assert steps[: ceil(prompt / CHUNK)] == [CHUNK] * (prompt // CHUNK) + [prompt % CHUNK]
    assert len(steps) > 3
    assert compare(output, expected(reference, processor, question)) < CLOSE


def test_chunks_of_several_prompts_at_once(stepping, reference, processor):
    asked = [
        Question(parts, text, {"ratio": ratio, "method": method})
        for (parts, text), ratio, method in zip(
            QUESTIONS, (0.3, 0.6, 0.9, 0.6), ("segments", "frame", "frame", "segments"), strict=True
        )
    ]
    for question, output in zip(asked, answers(stepping, asked), strict=True):
        assert compare(output, expected(reference, processor, question)) < CLOSE


@pytest.mark.parametrize("method", ["frame", "segments"])
def test_questions_on_one_recording_share_its_prefix(stepping, reference, processor, method):
    settings = {"method": method, "ratio": 0.6}
    one, two = (Question(((0, 12),), text, settings) for text in (WHICH, WHERE))
    answers(stepping, [one])
    (output,) = answers(stepping, [two])
    k = keep_count(300, 0.6)
    # whole blocks of what stands before the question, of which the audio is most
    assert output.num_cached_tokens > k - BLOCK
    assert output.num_cached_tokens % BLOCK == 0
    assert compare(output, expected(reference, processor, two)) < CLOSE


@pytest.mark.parametrize("method", ["headrouter", "adaptive_segments"])
def test_methods_by_the_question_share_it_with_the_same_question_alone(
    stepping, reference, processor, method
):
    settings = {"method": method, "ratio": 0.6}
    one, two = (Question(((0, 12),), text, settings) for text in (WHICH, WHERE))
    answers(stepping, [one])
    (output,) = answers(stepping, [two])
    assert output.num_cached_tokens <= BLOCK  # of the system prompt, none of the audio
    assert compare(output, expected(reference, processor, two)) < CLOSE
    (again,) = answers(stepping, [two])
    assert again.num_cached_tokens > keep_count(300, 0.6) - BLOCK
    assert compare(again, expected(reference, processor, two)) < CLOSE


def test_settings_never_mix_in_caches(stepping, reference, processor):
    """The same sound under settings that keep equally many tokens, one after the other."""
    settings = [
        {"ratio": 0.6, "method": "frame"},
        {"ratio": 0.6, "method": "segments"},
        {"ratio": 0.6, "method": "segments", "merge": 0},
        {"ratio": 0.6, "method": "segments", "change": 0},
        {"ratio": 0.6, "method": "headrouter"},
        {"ratio": 0.601, "method": "frame"},
        {"ratio": 0, "method": "frame"},
    ]
    for given in settings:
        question = Question(((0, 12),), WHICH, given)
        (output,) = answers(stepping, [question])
        assert output.num_cached_tokens <= BLOCK
        assert compare(output, expected(reference, processor, question)) < CLOSE


@pytest.mark.parametrize("ratio", [0, 0.6, 0.9])
def test_blocks_shrink_with_the_prompt(stepping, ratio):
    question = Question(((0, 28),), WHICH, {"ratio": ratio})
    with watched(stepping) as (_, blocks):
        (output,) = answers(stepping, [question])
    prompt = len(output.prompt_token_ids)
    text = len(answers(stepping, [Question((), WHICH)])[0].prompt_token_ids) + 2  # and markers
    assert prompt == text + keep_count(700, ratio)
    assert ceil(prompt / BLOCK) <= max(blocks) <= ceil((prompt + 8) / BLOCK)


def test_longer_audio_than_the_encoder_cache_holds(stepping):
    """It holds 750 tokens here, which vLLM gives to one audio by itself."""
    with pytest.raises(RequestError, match=r"an audio of 1000 tokens keeps 1000, .* holds 750: .*"):
        answers(stepping, [Question(((0, 40),), WHICH)])
    with pytest.raises(RequestError, match="--max-num-batched-tokens 800 or more"):
        answers(stepping, [Question(((0, 40),), WHICH, {"ratio": 0.2})])
    (output,) = answers(stepping, [Question(((0, 40),), WHICH, {"ratio": 0.6})])
    assert len(output.prompt_token_ids) > 400


def test_text_alone_stays_as_it_is(stepping, reference, processor):
    question = Question((), "Who are you?")
    (output,) = answers(stepping, [question])
    ids = processor.tokenizer(question.written, return_tensors="pt")["input_ids"]
    assert list(output.prompt_token_ids) == ids[0].tolist()
    found = reference.generate(input_ids=ids, max_new_tokens=6, do_sample=False)[0]
    said = list(output.outputs[0].token_ids)
    assert said == found[ids.shape[1] :].tolist()[: len(said)]


@pytest.mark.parametrize(
    ("parts", "settings", "message"),
    [
        (
            ((0, 3), (0, 4)),
            {"method": "headrouter"},
            "reads the whole prompt.* 2 audios",
        ),
        (((0, 3),), {"method": "loud"}, "headrouter.method is 'loud'"),
        (((0, 3),), {"ratio": 1.5}, "ratio 1.5 is outside"),
        (((0, 3),), {"profile": "other"}, "'profile' is a setting of the server's start"),
    ],
)
def test_requests_that_are_refused(stepping, parts, settings, message):
    asked = Question(parts, WHICH, {"ratio": 0.6, **settings})
    with pytest.raises(RequestError, match=message):
        answers(stepping, [asked])
    # and the engine is as it was
    assert answers(stepping, [Question(((0, 3),), WHICH)])[0].outputs[0].token_ids


def test_audios_that_touch_are_refused(stepping):
    from vllm import SamplingParams

    asked = Question(((0, 3), (4, 6)), WHICH, {"ratio": 0.6})
    prompt = asked.for_vllm()
    prompt["prompt"] = prompt["prompt"].replace("<|audio_eos|><|audio_bos|>", "")
    with pytest.raises(RequestError, match="two audios touch"):
        stepping.generate([prompt], SamplingParams(max_tokens=1), use_tqdm=False)
