"""Replaying layers from M on gives what pruning gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from calibrate.estimation.replay.layers import answer_nll, replay, replay_cache
from calibrate.estimation.replay.prefix import Prefix, capture
from headrouter_core import families
from headrouter_core.errors import PruningError, UnsupportedModelError, UsageError
from headrouter_core.pruning.context import prune
from headrouter_core.selectors.base import Need, Selection, View

from ...checking.exactness import TOLERANCE
from ...checking.guarded import fixture_model, hook_count, refused
from ...checking.masked import error
from ...checking.probes import EVERYTHING, Merging, Recorder, Scattered, scattered
from ...tiny.models import AUDIO, BEGIN, END, batch, row, thinker

model = fixture_model
SAMPLE = [row("system", 12, "and", 8, "question?", "answer")]
LENGTH, ANSWER = len(SAMPLE[0]), 6


def captured(model: Any, layer: int = 2, **more: Any) -> Prefix:
    return capture(model, batch(SAMPLE), layer, LENGTH - ANSWER, **more)


class Given:
    """Keeps what it is told to."""

    name, needs, text_tokens = "given", Need.NOTHING, "all"

    def __init__(self, kept: torch.Tensor, states: torch.Tensor | None = None) -> None:
        self.kept, self.states = kept, states

    def __call__(self, view: View, k: int) -> Selection:
        return Selection(self.kept, states=self.states)


@pytest.mark.parametrize(
    "text", [{}, {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 3}]
)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("layer", [1, 2, 5])
@torch.no_grad()
def test_replay_equals_pruning(attention: str, layer: int, text: dict[str, Any]) -> None:
    model = thinker(attention, **text)
    prefix = captured(model, layer)
    for ratio, k in ((0.6, 8), (0.95, 1), (0, 20)):
        kept = torch.stack([scattered(20, k, seed) for seed in range(5)])
        found = replay(model, prefix, kept)
        assert found.shape[:2] == (5, ANSWER)
        for choice, logits in zip(kept, found, strict=True):
            with prune(model, Given(choice), ratio, layer):
                wanted = model(**batch(SAMPLE)).logits[0, -ANSWER - 1 : -1]
            assert error(logits, wanted) < TOLERANCE


@torch.no_grad()
def test_replay_of_everything_is_the_model_itself(model: Any) -> None:
    whole = model(**batch(SAMPLE)).logits[:, -ANSWER - 1 : -1]
    found = replay(model, captured(model), torch.arange(20)[None])
    assert error(found, whole) < TOLERANCE


@torch.no_grad()
def test_states_and_edits(model: Any) -> None:
    prefix = captured(model)
    kept = torch.stack([scattered(20, 8, seed) for seed in range(3)])
    states = torch.randn(3, 8, 64)
    found = replay(model, prefix, kept, states)
    for choice, put, logits in zip(kept, states, found, strict=True):
        with prune(model, Given(choice, put), 0.6, 2):
            wanted = model(**batch(SAMPLE)).logits[0, -ANSWER - 1 : -1]
        assert error(logits, wanted) < TOLERANCE

    def put(hidden: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        assert hidden.shape[:2] == columns.shape == (3, LENGTH - 12)
        hidden = hidden.clone()
        for member in range(3):
            place = torch.isin(columns[member], prefix.audio[kept[member]])
            hidden[member, place] = states[member]
        return hidden

    assert torch.equal(replay(model, prefix, kept, edit=put), found)


@pytest.mark.parametrize("text_tokens", ["all", "after", "last"])
@torch.no_grad()
def test_what_is_captured(model: Any, text_tokens: str) -> None:
    recorder = Recorder(text_tokens)
    shortened = batch([SAMPLE[0][:-ANSWER]])
    hooks = hook_count(model)
    prefix = captured(model, needs=EVERYTHING)
    assert hook_count(model) == hooks
    with prune(model, recorder, 0.6):
        model(**shortened)
    (wanted,) = recorder.views
    ids = shortened["input_ids"][0]
    assert torch.equal(prefix.audio, (ids == AUDIO).nonzero()[:, 0])
    text = (~torch.isin(ids, torch.tensor([AUDIO, BEGIN, END]))).nonzero()[:, 0]
    assert torch.equal(prefix.text, text)
    assert torch.equal(prefix.after, text > prefix.audio[-1])
    assert 0 < int(prefix.after.sum()) < len(text)
    assert prefix.hidden_states.shape == (LENGTH, 64)
    assert prefix.answer_ids.tolist() == SAMPLE[0][-ANSWER:]
    view = prefix.seen_by(text_tokens)
    assert (view.audio_tokens, view.sample, view.scale) == (20, 0, wanted.scale)
    for part in ("queries", "keys", "rotated_keys", "last_attention", "hidden_states"):
        assert error(getattr(view, part), getattr(wanted, part)) < TOLERANCE
    assert prefix.seen_by("all", sample=7).sample == 7
    assert captured(model, needs=Need.NOTHING).seen_by(text_tokens).queries is None


def test_answers_that_speak_of_audio_are_no_audio(model: Any) -> None:
    ids = [*row("system", 6, "question?"), AUDIO, AUDIO, 5]
    inputs = batch([row("system", 6, "question?")])
    inputs["input_ids"] = torch.tensor([ids])
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    embeds = model.get_input_embeddings()(inputs["input_ids"]).detach()
    given = {"input_ids": inputs["input_ids"], "inputs_embeds": embeds}
    prefix = capture(model, given, 2, len(ids) - 3)
    assert len(prefix.audio) == 6
    assert prefix.text.max() < len(ids) - 3


def test_nll_is_the_mean_over_the_answers_tokens() -> None:
    logits = torch.randn(3, 4, 10, dtype=torch.float64)
    answer = torch.tensor([1, 9, 0, 1])
    wanted = -logits.log_softmax(-1)[:, range(4), answer].mean(1)
    assert torch.allclose(answer_nll(logits, answer), wanted, atol=1e-12)
    half = answer_nll(logits.bfloat16(), answer)
    assert half.dtype == torch.float32
    assert torch.allclose(half.double(), wanted, atol=2e-2)


def test_bad_arguments(model: Any) -> None:
    prefix = captured(model)
    for kept in ([[3, 2]], [[2, 2]], [[-1, 2]], [[0, 20]], [[]], [0, 1], [[0.5, 1]]):
        with pytest.raises(UsageError, match="kept"):
            replay(model, prefix, torch.tensor(kept))
    with pytest.raises(UsageError, match="no answer"):
        replay(model, capture(model, batch(SAMPLE), 2), torch.tensor([[0]]))
    for length in (0, LENGTH + 1):
        with pytest.raises(UsageError, match=f"prompt_length {length} is outside"):
            capture(model, batch(SAMPLE), 2, length)
    with pytest.raises(UsageError, match="2 rows"):
        capture(model, batch([*SAMPLE, *SAMPLE]), 2)
    padded = batch([SAMPLE[0], SAMPLE[0][:-1]])
    single = {name: padded[name][1:] for name in ("input_ids", "attention_mask")}
    with pytest.raises(UsageError, match="1 rows, or padding"):
        capture(model, single, 2)
    with pytest.raises(PruningError, match="no audio tokens"):
        capture(model, batch([row("only text")]), 2)
    with pytest.raises(UsageError, match=r"layer 6 is outside \[1, 5\]"):
        capture(model, batch(SAMPLE), 6)
    with refused("do not nest", model, Scattered(), 0.6, kind=UsageError):
        captured(model)


def test_endings_that_replay_does_not_know(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    family = families.family_of(model)
    changed = lambda anatomy, hidden: anatomy.embedding(hidden)  # noqa: E731
    monkeypatch.setitem(vars(family), "finish", changed)
    with pytest.raises(UnsupportedModelError, match="more behind its last layer"):
        captured(model)


@torch.no_grad()
def test_merging_selectors_replay(model: Any) -> None:
    prefix = captured(model)
    states = prefix.hidden_states[prefix.audio]
    kept = scattered(20, 8, 0)
    merged = states[kept] * 0.5 + states.mean(0)
    with prune(model, Merging(), 0.6, 2):
        wanted = model(**batch(SAMPLE)).logits[0, -ANSWER - 1 : -1]
    assert error(replay(model, prefix, kept[None], merged[None])[0], wanted) < TOLERANCE


@pytest.mark.parametrize("merging", [False, True])
@pytest.mark.parametrize(
    "text", [{}, {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 3}]
)
@torch.no_grad()
def test_generating_from_a_replayed_cache(merging: bool, text: dict[str, Any]) -> None:
    """Rows of one sample with different choices go on as each would have alone."""
    model = thinker("sdpa", **text)
    prompt = batch([SAMPLE[0][:-ANSWER]])
    prefix = capture(model, prompt, 2, needs=Need.HIDDEN_STATES, cached=True)
    kept = torch.stack([scattered(20, 8, seed) for seed in range(3)])
    states = prefix.seen_by("all").hidden_states
    merged = states[kept] * 0.5 + states.mean(0) if merging else None
    options: dict[str, Any] = {
        "max_new_tokens": 5,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    cache = replay_cache(model, prefix, kept, merged)
    ids = prefix.input_ids.expand(3, -1)
    assert cache.get_seq_length() == ids.shape[1] - 1
    with prune(model, Scattered(), 0.6, 2) as trace:
        found = model.generate(
            ids, attention_mask=torch.ones_like(ids), past_key_values=cache, **options
        )
    assert not trace
    for index in range(3):
        choice = Given(kept[index], None if merged is None else merged[index])
        with prune(model, choice, 0.6, 2):
            wanted = model.generate(**prompt, **options)
        assert torch.equal(found.sequences[index], wanted.sequences[0])
        for a, b in zip(found.logits, wanted.logits, strict=True):
            assert error(a[index], b[0]) < TOLERANCE


def test_a_cache_cannot_be_replayed_that_was_not_kept(model: Any) -> None:
    with pytest.raises(UsageError, match="cached=True"):
        replay_cache(model, captured(model), torch.arange(8)[None])
