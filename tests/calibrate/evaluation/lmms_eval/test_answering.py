"""Requests answered with pruning: as the engine answers them one by one, or not at all."""

import contextlib

import pytest
import torch

from calibrate.evaluation.lmms_eval import answering
from calibrate.models.asking import answer
from calibrate.models.selecting import build_selector
from calibrate.terminal.errors import AudioError
from headrouter_core import SELECTORS, Need, Selection, load_profile, prune, scoring
from headrouter_core.errors import ProfileMismatchError, SelectionError, UsageError
from headrouter_core.families import locate
from tiny_omni.vocabulary import SYSTEM


def answers(answerer, questions):
    return [text for batch in answerer.batches(questions) for text in batch]


def hooks(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


@pytest.fixture
def traces(monkeypatch):
    """Keep every trace."""
    found = []

    @contextlib.contextmanager
    def traced(*arguments, **options):
        with prune(*arguments, **options) as trace:
            yield trace
        found.append(trace)

    monkeypatch.setattr(answering, "prune", traced)
    return found


@pytest.mark.parametrize("method", SELECTORS)
def test_batches_give_what_each_request_alone_gives(
    answerer, asked, speech, traces, method, loaded
):
    questions = asked()
    alone = answers(answerer(method=method), questions)
    kept = [entry.kept.tolist() for trace in traces for entry in trace]
    traces.clear()
    assert answers(answerer(method=method, batch_size="3"), questions) == alone
    (trace,) = traces
    assert [entry.kept.tolist() for entry in trace] == kept
    assert all(alone)
    assert [len(indices) for indices in kept] == [
        scoring.keep_count(n, 0.6) for n in (100, 300, 200)
    ]


@pytest.mark.parametrize("method", ["headrouter", "energy"])
def test_the_answers_are_those_of_the_engine(answerer, asked, speech, tiny, method):
    given = answers(answerer(method=method, ratio=0.9, batch_size=2), asked())
    profile = load_profile("tiny-omni")
    for text, samples in zip(given, speech, strict=True):
        selector = build_selector(
            SELECTORS[method], profile=profile, seed=0, audios=[samples], frontend=tiny.frontend
        )
        inputs = tiny.place(tiny.frontend.inputs([samples], "Which digits are spoken?"))
        with prune(tiny.model, selector, 0.9):
            assert answer(tiny, inputs, 6).text == text


def test_ratio_0_is_the_unpruned_model(answerer, asked, speech, tiny):
    given = answers(answerer(method="frame", ratio=0.0), asked())
    for text, samples in zip(given, speech, strict=True):
        inputs = tiny.place(tiny.frontend.inputs([samples], "Which digits are spoken?"))
        assert answer(tiny, inputs, 6).text == text


def test_random_draws_belong_to_the_document(answerer, asked, traces):
    questions = asked()
    pruned = answerer(method="random")
    answers(pruned, questions)
    answers(pruned, questions[::-1])
    kept = [trace[0].kept.tolist() for trace in traces]
    assert kept[3:] == kept[2::-1]
    answers(answerer(method="random", seed=1), questions[:1])
    assert traces[-1][0].kept.tolist() != kept[0]


def test_several_audios_of_a_document_share_the_budget(answerer, asked, clip, speech):
    pruned = answerer()
    document = [str(clip), {"array": speech[0], "sampling_rate": 16_000}]
    answers(pruned, asked([document]))
    (audio_tokens,) = pruned.tally.audio_tokens
    assert audio_tokens > 100 + 3 * 25  # the clip is longer than three seconds
    assert pruned.tally.kept == [scoring.keep_count(audio_tokens, 0.6)]


def test_the_counts_are_told(answerer, asked):
    pruned = answerer(batch_size=2)
    assert pruned.tally.describe() == "no request was answered"
    answers(pruned, asked())
    assert pruned.tally.describe() == (
        "3 requests answered: kept 240 of 600 audio tokens, removed 60.0%; a request kept 40 to 120"
    )
    assert 3 <= pruned.tally.generated <= 18


def test_an_answer_stops_where_the_task_says(answerer, asked):
    pruned = answerer(batch_size=3)
    whole = answers(pruned, asked(max_new_tokens=12))
    generated = pruned.tally.generated
    stop = whole[0][len(whole[0]) // 2 :][:4]
    assert stop.strip()
    cut = answers(pruned, asked(max_new_tokens=12, until=[stop]))
    assert cut == [text.partition(stop)[0].rstrip() for text in whole]
    assert pruned.tally.generated - generated < generated


@pytest.mark.parametrize("settings", [{"num_beams": 2}, {"temperature": 0.8, "top_p": 0.9}])
def test_beams_and_sampling_prune_each_request_once(answerer, asked, settings):
    pruned = answerer(batch_size=3)
    assert len(answers(pruned, asked(**settings))) == 3
    assert pruned.tally.kept == [40, 120, 80]


def test_a_system_prompt_reaches_the_model(answerer, asked, tiny, traces):
    system = "Be brief, now."
    answers(answerer(), asked()[:1])
    answers(answerer(system_prompt=system), asked()[:1])
    (plain,), (told,) = traces
    own, given = (len(tiny.frontend.tokenizer(text)["input_ids"]) for text in (SYSTEM, system))
    assert told.prompt_length - plain.prompt_length == given - own != 0


def test_requests_of_different_settings_share_no_batch(answerer, asked):
    pruned = answerer(batch_size=3)
    mixed = asked()[:2] + asked(max_new_tokens=1)[2:]
    assert [len(batch) for batch in pruned.batches(mixed)] == [2, 1]


@pytest.mark.parametrize(
    ("documents", "prompt", "error", "says"),
    [
        ([[]], "Q", AudioError, "hands over no audio"),
        ([["nowhere.wav"]], "Q", AudioError, "nowhere.wav: no such audio file"),
        ([[object()]], "Q", UsageError, "hears only"),
        (None, " ", UsageError, "one of them is missing"),
        (None, "<|im_end|>", UsageError, "control token"),
    ],
)
def test_what_cannot_be_answered_ends_the_run(answerer, asked, documents, prompt, error, says):
    pruned = answerer()
    before = hooks(pruned.loaded.model)
    with pytest.raises(error) as caught:
        answers(pruned, asked(documents, prompt))
    assert str(caught.value).startswith("task digits, split test, document 0: ")
    assert says in str(caught.value)
    assert hooks(pruned.loaded.model) == before
    assert answers(pruned, asked())


def test_too_long_audio_is_not_cut(answerer, asked, speech):
    pruned = answerer()
    audio = {"array": speech[1].repeat(3), "sampling_rate": 16_000}
    with pytest.raises(AudioError, match="takes at most 30 s"):
        answers(pruned, asked([[audio]]))


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError, KeyboardInterrupt])
def test_errors_inside_the_model_surface(answerer, asked, error, monkeypatch):
    pruned = answerer()
    before = hooks(pruned.loaded.model)

    def fail(*_, **__):
        raise error("in the last layer")

    with monkeypatch.context() as patched:
        patched.setattr(locate(pruned.loaded.model).layers[-1], "forward", fail)
        with pytest.raises(error, match="in the last layer"):
            answers(pruned, asked())
    assert hooks(pruned.loaded.model) == before
    assert "generate" not in vars(pruned.loaded.model)
    assert len(answers(pruned, asked())) == 3


class KeepsAll:
    """Breaks the contract: it keeps more than k."""

    name, needs, text_tokens = "all", Need.NOTHING, "all"

    def __call__(self, view, k):
        return Selection(torch.arange(view.audio_tokens))


def test_pruning_errors_name_the_documents(answerer, asked, monkeypatch):
    pruned = answerer(batch_size=3)
    monkeypatch.setattr(answering, "build_selector", lambda *_, **__: KeepsAll())
    with pytest.raises(SelectionError, match="document 0 and 2 more in its batch: "):
        answers(pruned, asked())


def test_a_foreign_profile_is_refused_at_once(answerer, profile_file):
    with pytest.raises(ProfileMismatchError):
        answerer(profile=str(profile_file))


def test_a_layer_that_is_not_there_is_refused_at_once(answerer):
    with pytest.raises(UsageError, match="layer 99"):
        answerer(method="frame", layer=99)
