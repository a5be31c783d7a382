"""Evicting again as an answer grows, against a whole cache with the same columns hidden."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from headrouter_core.errors import EvictionError, UsageError
from headrouter_core.eviction.context import evict
from headrouter_core.eviction.methods import (
    H2O,
    AdaKV,
    AudioKV,
    PyramidKV,
    RandomKV,
    SnapKV,
    StreamingLLM,
)
from headrouter_core.eviction.trace import Eviction
from headrouter_core.pruning.context import prune

from ..checking.exactness import (
    TOLERANCE,
    Inputs,
    dropped_from,
    generated,
    generated_error,
    omni_step,
)
from ..checking.masked import masked
from ..checking.matrix import inputs, made, tiny
from ..checking.probes import Scattered
from ..tiny.families import decoder_layers
from ..tiny.models import row
from .conftest import Note
from .hidden_heads import hidden_columns, steps
from .test_audiokv import fitting
from .test_eviction_exact import TAKEN, WINDOWED

EVERY, LONG = 3, {"max_new_tokens": 12}
METHODS = [
    AudioKV(fitting(tiny("qwen2_5_omni", "sdpa")), window=4),
    SnapKV(window=4),
    AdaKV(window=4),
    PyramidKV(window=4),
    H2O(),
    StreamingLLM(),
    RandomKV(window=4),
]


class Hiding(DynamicCache):
    """A whole cache with what its rows do not see, which moves along with beams."""

    def __init__(self, turns: Sequence[tuple[int, list[torch.Tensor]]]) -> None:
        super().__init__()
        self.turns = list(turns)
        """Columns when a turn ended, and what each layer hides from then on [rows, heads, L]."""
        self.hidden: list[torch.Tensor] = []

    def advance(self, columns: int) -> None:
        while self.turns and self.turns[0][0] <= columns:
            self.hidden = self.turns.pop(0)[1]

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        super().reorder_cache(beam_idx)
        self.advance(self.get_seq_length())
        self.hidden = [part[beam_idx] for part in self.hidden]


def turns_of(
    entries: Sequence[Eviction], mask: torch.Tensor, beams: int
) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Yield what is hidden behind a prompt, and behind every three tokens of an answer."""
    layers, rows = range(len(entries[0].kept)), len(mask)
    prompt, rest = entries[:rows], entries[rows:]
    hidden = [hidden_columns(prompt, mask, layer) for layer in layers]
    yield mask.shape[1], [part.repeat_interleave(beams, 0) for part in hidden]
    mask = mask.repeat_interleave(beams, 0)
    assert len(rest) % len(mask) == 0
    for start in range(0, len(rest), len(mask)):
        mask = torch.cat([mask, mask.new_ones(len(mask), EVERY)], 1)
        mine = rest[start : start + len(mask)]
        yield mask.shape[1], [hidden_columns(mine, mask, layer) for layer in layers]


@contextmanager
def hiding(layers: nn.ModuleList, cache: Hiding) -> Iterator[None]:
    handles = []
    for index, layer in enumerate(layers):

        def hide(module: Any, args: Any, kwargs: dict[str, Any], index: int = index) -> Any:
            mask = kwargs["attention_mask"]
            cache.advance(mask.shape[-1] - 1)
            if not cache.hidden:
                return None
            group = module.self_attn.num_key_value_groups
            hidden = cache.hidden[index].repeat_interleave(group, dim=1)[:, :, None]
            whole = mask.expand(-1, hidden.shape[1], -1, -1).clone()
            whole[..., : hidden.shape[-1]].masked_fill_(hidden, torch.finfo(mask.dtype).min)
            return args, {**kwargs, "attention_mask": whole}

        handles.append(layer.register_forward_pre_hook(hide, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def whole_generation(
    name: str, given: Inputs, entries: Sequence[Eviction], beams: int = 1, **options: Any
) -> Any:
    reference = tiny(name, "eager")
    cache = Hiding(list(turns_of(entries, given["attention_mask"], beams)))
    with hiding(decoder_layers(reference), cache):
        found = generated(reference, given, past_key_values=lambda model: cache, **options)
    assert not cache.turns, "every turn was come to"
    return found


def grown(
    name: str, attention: str, given: Inputs, method: Any, **options: Any
) -> tuple[Any, list[Eviction]]:
    with evict(tiny(name, attention), method, 0.4, every=EVERY) as trace:
        return generated(tiny(name, attention), given, **options), list(trace)


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_family(name: str, attention: str, note: Note) -> None:
    given = inputs(name, "left")
    found, entries = grown(name, attention, given, AdaKV(window=4), **LONG)
    assert [e.length - entries[0].length for e in entries[::3]] == [0, 3, 6, 9]
    worst = generated_error(found, whole_generation(name, given, entries, **LONG))
    note(name, "growing", worst)
    assert worst < TOLERANCE


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize(
    ("form", "beams", "options"),
    [
        ("right", 1, {}),
        ("several", 3, {"do_sample": True, "num_return_sequences": 3}),
        ("text row", 3, {"num_beams": 3, "num_return_sequences": 2}),
    ],
    ids=["padded batch", "sampling", "beams"],
)
def test_every_method(method: Any, form: str, beams: int, options: dict[str, Any]) -> None:
    given, options = inputs("qwen2_5_omni", form), {**LONG, **options}
    found, entries = grown("qwen2_5_omni", "sdpa", given, method, **options)
    assert (
        generated_error(found, whole_generation("qwen2_5_omni", given, entries, beams, **options))
        < TOLERANCE
    )
    for entry in entries:
        held = sum(len(head) for layer in entry.kept for head in layer)
        assert held == 12 * int(Fraction("0.4") * entry.length)


def test_together_with_pruning() -> None:
    name, given = "qwen2_5_omni", inputs("qwen2_5_omni", "left")
    with prune(tiny(name, "sdpa"), Scattered(), 0.6, 2) as pruned:
        found, entries = grown(name, "sdpa", given, AdaKV(window=4), **LONG)
    dropped = dropped_from(given, [entry.kept for entry in pruned])
    with masked(decoder_layers(tiny(name, "eager")), 2, dropped):
        wanted = whole_generation(name, given, entries, **LONG)
    assert generated_error(found, wanted) < TOLERANCE


def test_kept_is_what_the_queries_since_the_last_time_look_at() -> None:
    name, given = "qwen2_audio", inputs("qwen2_audio", "one")
    options = {**LONG, "max_new_tokens": 8, "output_attentions": True}
    found, entries = grown(name, "sdpa", given, SnapKV(window=2, kernel=1), max_new_tokens=8)
    wanted = whole_generation(name, given, entries, **options)
    assert torch.equal(found.sequences, wanted.sequences)
    columns = given["input_ids"].shape[1]
    for turn, entry in enumerate(entries[1:], 1):
        last = turn * EVERY
        assert entry.length == columns + last
        for layer, kept in enumerate(entry.kept):
            # steps 1, 2, 3 end the first turn; the window's two queries are asked
            asked = [wanted.attentions[step][layer][0, :, -1] for step in (last - 1, last)]
            seen = [torch.nn.functional.pad(a, (0, entry.length - a.shape[-1])) for a in asked]
            mean = torch.stack(seen).mean(0).unflatten(0, (2, -1)).mean(1)
            for head, places in enumerate(kept):
                rank = mean[head, : entry.length - 2].argsort(descending=True, stable=True)
                best = rank[: int(Fraction("0.4") * entry.length) - 2].sort().values.tolist()
                assert places.tolist() == [*best, entry.length - 2, entry.length - 1]


def test_queries_that_are_noted_are_counted_and_go_with_the_cache() -> None:
    name, given = "qwen2_5_omni", inputs("qwen2_5_omni", "one")
    model, mask = tiny(name, "sdpa"), given["attention_mask"]
    with evict(model, SnapKV(window=4), 0.4, every=5), torch.no_grad():
        cache = model(**given, use_cache=True).past_key_values
        (layer, *_), before = cache.layers, cache.layers[0].held_bytes()
        steps(model, cache, mask, omni_step)
        assert layer.noted.shape[2] == layer.grown == 3
        noted = layer.noted.numel() * 4
        groups = sum(t.untyped_storage().nbytes() for g in layer.groups for t in g.tensors())
        assert layer.held_bytes() == groups + noted > before
        twin = copy.deepcopy(cache)
        twin.crop(-2)
        assert twin.layers[0].noted.shape[2] == twin.layers[0].grown == 1
        assert layer.grown == 3
        twin.crop(-1)
        assert twin.layers[0].noted is None


@pytest.mark.parametrize("every", [0, -1, 1.0, True, "8", float("nan")])
def test_measures_that_are_none(every: Any) -> None:
    with (
        pytest.raises(UsageError, match="every"),
        evict(tiny("qwen2_audio", "sdpa"), SnapKV(), 0.4, every=every),
    ):
        pass


@pytest.mark.parametrize("name", WINDOWED)
def test_answers_beyond_a_sliding_window_are_refused(name: str) -> None:
    given = made(name, [row("s", 2, "why")])
    with pytest.raises(EvictionError, match="tokens back"):
        grown(name, "sdpa", given, AdaKV(window=2), **LONG)
