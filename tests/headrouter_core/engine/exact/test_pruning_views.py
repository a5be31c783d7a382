"""What a selector is shown: computed here once more, from the weights and without hooks on q, k."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from headrouter_core import families
from headrouter_core.pruning.context import prune
from headrouter_core.selectors import HeadRouter
from headrouter_core.selectors.base import Need, Selection, View

from ...checking.bundles import make_profile
from ...checking.guarded import hook_count
from ...checking.masked import error
from ...checking.probes import Affinity, Recorder, Scattered
from ...tiny.families import decoder_layers
from ...tiny.models import AUDIO, BEGIN, END, batch, row, thinker

TOLERANCE = 1e-5
ROWS = [row("system", 12, "and", 8, "question?"), row("s", 9, "why"), row("only text")]


@pytest.fixture(scope="module")
def model() -> Any:
    return thinker("sdpa")


def rotate(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Rotary encoding of [heads, n, d] as the paper has it; audio and text alike count by one."""
    d = states.shape[-1]
    angles = positions[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
    first, second = states[..., : d // 2], states[..., d // 2 :]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def heads(linear: nn.Linear, states: torch.Tensor, count: int) -> torch.Tensor:
    return (states @ linear.weight.T + linear.bias).unflatten(-1, (count, 16)).transpose(0, 1)


@pytest.mark.parametrize("text_tokens", ["all", "after"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("layer", [1, 3])
@torch.no_grad()
def test_views(model: Any, text_tokens: str, side: str, layer: int) -> None:
    inputs, recorder = batch(ROWS, side), Recorder(text_tokens)
    with prune(model, recorder, 0.6, layer):
        model(**inputs)
    layers = decoder_layers(model)
    attention = layers[layer - 1].self_attn
    inner: list[torch.Tensor] = []
    outer: list[torch.Tensor] = []
    handles = [
        attention.register_forward_pre_hook(
            lambda _, args, kwargs: inner.append(kwargs["hidden_states"]), with_kwargs=True
        ),
        layers[layer].register_forward_pre_hook(lambda _, args: outer.append(args[0])),
    ]
    model(**inputs)
    for handle in handles:
        handle.remove()

    assert len(recorder.views) == 2  # the row without audio is not shown
    for index, view in enumerate(recorder.views):
        ids, real = inputs["input_ids"][index], inputs["attention_mask"][index].bool()
        columns = torch.arange(len(ids))
        audio = columns[(ids == AUDIO) & real]
        text = columns[real & ~torch.isin(ids, torch.tensor([AUDIO, BEGIN, END]))]
        if text_tokens == "after":
            text = text[text > audio[-1]]
        positions = real.cumsum(0) - 1
        states = inner[0][index]
        queries, keys = heads(attention.q_proj, states, 4), heads(attention.k_proj, states, 2)
        assert error(view.queries, queries[:, text]) < TOLERANCE
        assert error(view.keys, keys[:, audio]) < TOLERANCE
        rotated = rotate(keys, positions)
        assert error(view.rotated_keys, rotated[:, audio]) < TOLERANCE
        last = rotate(queries, positions)[:, columns[real][-1]]
        scores = torch.stack([rotated[h // 2, real] @ last[h] / 4 for h in range(4)]).softmax(-1)
        attended = torch.zeros(4, len(ids)).index_copy_(1, columns[real], scores)
        assert error(view.last_attention, attended[:, audio]) < TOLERANCE
        assert view.last_attention.dtype == torch.float32
        assert torch.equal(view.hidden_states, outer[0][index, audio])
        assert (view.audio_tokens, view.scale, view.sample) == (len(audio), 0.25, index)
        assert view.device == outer[0].device


NEEDS = {
    Need.NOTHING: (0, set()),
    Need.QUERIES_KEYS: (2, {"queries", "keys"}),
    Need.ROTATED_KEYS: (2, {"rotated_keys"}),
    Need.LAST_ATTENTION: (3, {"last_attention"}),
    Need.HIDDEN_STATES: (0, {"hidden_states"}),
    Need.QUERIES_KEYS | Need.HIDDEN_STATES: (2, {"queries", "keys", "hidden_states"}),
}
TENSORS = {"queries", "keys", "rotated_keys", "last_attention", "hidden_states"}


@pytest.mark.parametrize("needs", NEEDS)
@torch.no_grad()
def test_only_what_is_needed_is_captured(model: Any, needs: Need) -> None:
    wanted = needs

    @dataclass(frozen=True)
    class Asking(Recorder):
        needs: ClassVar[Need] = wanted

    selector, before = Asking(), hook_count(model)
    probe_hooks, fields = NEEDS[wanted]
    with prune(model, selector, 0.6, 2):
        assert (
            hook_count(model) - before == 2 + 1 + 4 + probe_hooks
        )  # the model, the first layer, those from M
        model(**batch(ROWS))
    shown = {name for name in TENSORS if getattr(selector.views[0], name) is not None}
    assert shown == fields


@torch.no_grad()
def test_captured_tensors_are_given_up_once_a_row_is_decided(model: Any) -> None:
    """Nothing but the views themselves holds what they show."""
    held: list[weakref.ref[torch.Tensor]] = []

    @dataclass(frozen=True)
    class Watching(Scattered):
        needs: ClassVar[Need] = Need.QUERIES_KEYS | Need.LAST_ATTENTION | Need.HIDDEN_STATES

        def __call__(self, view: View, k: int) -> Selection:
            alive = [ref for ref in held if ref() is not None]
            assert not alive
            held.extend(weakref.ref(t) for t in (view.queries, view.keys, view.hidden_states))
            return super().__call__(view, k)

    gc.disable()  # by reference counts alone, as on a GPU no collection comes in time
    try:
        with prune(model, Watching(), 0.6, 2):
            model(**batch(ROWS))
            assert len(held) == 6
            assert all(ref() is None for ref in held)
    finally:
        gc.enable()


def test_steps_and_decided_prompts_are_not_captured(model: Any) -> None:
    for cached in (True, False):
        recorder = Recorder()
        with prune(model, recorder, 0.6):
            model.generate(**batch(ROWS[:1]), max_new_tokens=3, do_sample=False, use_cache=cached)
        assert len(recorder.views) == 1


@torch.no_grad()
def test_samples_count_rows_since_the_context_was_entered(model: Any) -> None:
    recorder = Recorder()
    with prune(model, recorder, 0.6) as trace:
        model(**batch(ROWS))
        model(**batch(ROWS[:1]))
        assert len(trace) == 4
    assert [view.sample for view in recorder.views] == [0, 1, 3]
    assert [entry.audio_tokens for entry in trace] == [20, 9, 0, 20]
    assert [entry.prompt_length for entry in trace] == [len(r) for r in (*ROWS, ROWS[0])]
    assert [len(entry.kept) for entry in trace] == [8, 3, 0, 8]
    assert [len(entry.kept) for entry in trace[1:3]] == [3, 0]
    assert repr(trace) == "Trace([8/20, 3/9, 0/0, 8/20])"


@torch.no_grad()
def test_headrouter_routes_into_the_trace(model: Any) -> None:
    profile = make_profile(model=families.model_info(model, 2))
    with prune(model, HeadRouter(profile), 0.6) as trace:
        model(**batch(ROWS))
    for entry in trace[:2]:
        assert entry.importance.shape == (entry.audio_tokens,)
        assert entry.mixing.sum().item() == pytest.approx(1)
        assert entry.spread.ndim == 0
        scored = entry.importance.nan_to_num(-1)
        best = scored.topk(len(entry.kept)).indices.sort().values
        assert torch.equal(entry.kept, best)
    assert trace[2].importance is trace[2].spread is trace[2].mixing is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision(dtype: torch.dtype) -> None:
    model, inputs = thinker("sdpa").to(dtype), batch(ROWS)
    inputs["input_features"] = inputs["input_features"].to(dtype)
    plain = model(**inputs).logits
    with prune(model, Affinity(), 0):
        assert torch.equal(model(**inputs).logits, plain)
    recorder = Recorder()
    with prune(model, recorder, 0.6):
        assert torch.isfinite(model(**inputs).logits).all()
    view = recorder.views[0]
    assert view.queries.dtype == view.keys.dtype == view.hidden_states.dtype == dtype
    assert view.last_attention.dtype == torch.float32
