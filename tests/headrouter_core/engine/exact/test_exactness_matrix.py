"""Every family against the masked reference: prompts, ratios, layers, ways of decoding.

With ``--record-exactness FILE`` the worst errors are written down.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from headrouter_core.errors import PruningError, UsageError
from headrouter_core.pruning.context import prune

from ...checking.doubled import Doubled, doubled
from ...checking.exactness import (
    TOLERANCE,
    TOLERANCE_64,
    Kept,
    dropped_from,
    generated,
    generated_error,
    kept_by_scattered,
    masked_logits,
    pruned_generation,
    pruned_logits,
)
from ...checking.ledger import Ledger
from ...checking.matrix import (
    DECODING,
    FAMILIES,
    FORMS,
    LAYERS,
    LOOKUP,
    PARTICULAR,
    RATIOS,
    inputs,
    step_of,
    tiny,
    tiny64,
    two_turns,
    wanted_generation,
    wanted_logits,
    wanted_lookup,
    wanted_merged,
    wanted_turns,
)
from ...checking.probes import Merging, Recorder, Scattered
from ...tiny.families import decoder_layers, twin

each_family = pytest.mark.parametrize("name", FAMILIES)
each_attention = pytest.mark.parametrize("attention", ["eager", "sdpa"])
each_form = pytest.mark.parametrize("form", FORMS)


def same(found: Kept, wanted: Kept) -> bool:
    return len(found) == len(wanted) and all(map(torch.equal, found, wanted))


@each_attention
@each_form
@each_family
def test_prompts_ratios_and_layers(name: str, form: str, attention: str, ledger: Ledger) -> None:
    given, turn = inputs(name, form), list(FORMS).index(form)
    for index, ratio in enumerate(RATIOS):
        # each ratio meets each layer in some form
        layer = LAYERS[(index + turn) % len(LAYERS)]
        found, kept = pruned_logits(
            tiny(name, attention), given, Scattered(), ratio, layer, step_of(name)
        )
        assert same(kept, kept_by_scattered(given, ratio))
        worst = found.error(wanted_logits(name, form, ratio, layer))
        assert worst < TOLERANCE
        ledger.note(name, [form, attention, f"ratio {ratio}", f"layer {layer}"], worst)
        for feature, families in PARTICULAR.items():
            ledger.note(name, feature, worst if name in families else "none")


@each_family
def test_in_float64_only_rounding_is_left(name: str, ledger: Ledger) -> None:
    """Of the errors in float32, nothing is due to what is computed."""
    given, eager, step = doubled(inputs(name, "left")), tiny64(name), step_of(name)
    kept = kept_by_scattered(given, 0.6)
    with Doubled():
        wanted = masked_logits(eager, decoder_layers(eager), given, kept, 3, step)
        assert wanted.prefill.dtype == torch.float64
        for model in (eager, twin(eager, "sdpa")):
            found, _ = pruned_logits(model, given, Scattered(), 0.6, 3, step)
            worst = found.error(wanted)
            assert worst < TOLERANCE_64
            ledger.note(name, "float64", worst)


@each_attention
@each_form
@each_family
@torch.no_grad()
def test_ratio_zero_changes_no_bit(name: str, form: str, attention: str, ledger: Ledger) -> None:
    model, given = tiny(name, attention), inputs(name, form)
    logits, plain = model(**given).logits, generated(model, given, max_new_tokens=3)
    with prune(model, Recorder(), 0) as trace:
        assert torch.equal(model(**given).logits, logits)
        found = generated(model, given, max_new_tokens=3)
    assert torch.equal(found.sequences, plain.sequences)
    assert torch.equal(torch.stack(found.logits), torch.stack(plain.logits))
    everything = kept_by_scattered(given, 0)
    assert same([entry.kept for entry in trace], everything * 2)
    assert all(kept.tolist() == list(range(len(kept))) for kept in everything)
    ledger.note(name, "ratio 0", "same bits")


@pytest.mark.parametrize("form", ["several", "text row"])
@each_family
@torch.no_grad()
def test_what_enters_the_pruning_layer(name: str, form: str, ledger: Ledger) -> None:
    """Exactly the kept tokens, in order, with the rotary phases of their places in the prompt."""
    model, given = tiny(name, "sdpa"), inputs(name, form)
    entered: list[tuple[Any, Any]] = []

    def see(module: nn.Module, args: Any, kwargs: Any) -> None:
        call = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        entered.append((call["hidden_states"], call["position_embeddings"]))

    layer, how = decoder_layers(model)[3], {"with_kwargs": True}
    # behind the engine's own hook
    with prune(model, Scattered(), 0.6, 3), layer.register_forward_pre_hook(see, **how):
        model(**given)
    with layer.register_forward_pre_hook(see, **how):
        model(**given)
    (short, turned), (whole, phases) = entered
    stay = given["attention_mask"].bool() & ~dropped_from(given, kept_by_scattered(given, 0.6))
    for index, shown in enumerate(stay):
        columns = shown.nonzero()[:, 0]
        assert torch.equal(short[..., index, -len(columns) :, :], whole[..., index, columns, :])
        for found, wanted in zip(turned or (), phases or (), strict=True):
            # [B or 1, L, d], in some versions behind a dimension for each kind of position
            place = min(index, wanted.shape[-3] - 1)
            assert torch.equal(
                found[..., index, -len(columns) :, :], wanted[..., place, columns, :]
            )
    ledger.note(name, "order", "same bits")


@pytest.mark.parametrize("layer", [0, 6])
@each_family
def test_layers_that_cannot_be_the_first(name: str, layer: int, ledger: Ledger) -> None:
    sharing = name in PARTICULAR["shared keys"]
    lent = ".*take the keys of layer 5" if sharing else ""
    with (
        pytest.raises(UsageError, match=rf"layer {layer} is outside \[1, 5\]{lent}") as refusal,
        prune(tiny(name, "sdpa"), Scattered(), 0.6, layer),
    ):
        pass
    ledger.note(name, "shared tail", f"refused: {refusal.value}" if sharing else "none")


@each_attention
@pytest.mark.parametrize("mode", DECODING)
@each_family
def test_decoding(name: str, mode: str, attention: str, ledger: Ledger) -> None:
    form, options = DECODING[mode]
    given = inputs(name, form)
    found, trace = pruned_generation(tiny(name, attention), given, Scattered(), 0.6, 2, **options)
    # beams and return sequences share an entry; without a cache it is chosen once all the same
    assert same([entry.kept for entry in trace], kept_by_scattered(given, 0.6))
    worst = generated_error(found, wanted_generation(name, mode))
    assert worst < TOLERANCE
    ledger.note(name, mode.partition(",")[0], worst)


@each_attention
@each_family
def test_two_turns(name: str, attention: str, ledger: Ledger) -> None:
    given = inputs(name, "text row")
    with prune(tiny(name, attention), Scattered(), 0.6, 2) as trace:
        found = two_turns(tiny(name, attention), given)
    assert same([entry.kept for entry in trace], kept_by_scattered(given, 0.6))
    turns = zip(("greedy", "second turn"), found, wanted_turns(name), strict=True)
    for feature, turn, wanted in turns:
        worst = generated_error(turn, wanted)
        assert worst < TOLERANCE
        ledger.note(name, feature, worst)


@each_attention
@each_family
def test_prompt_lookup(
    name: str, attention: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, wanted = wanted_lookup(name)
    cropped: list[int] = []
    crop = DynamicCache.crop
    monkeypatch.setattr(DynamicCache, "crop", lambda s, n: (cropped.append(n), crop(s, n))[1])
    found, trace = pruned_generation(tiny(name, attention), given, Scattered(), 0.6, 2, **LOOKUP)
    assert any(cropped)  # what was drafted wrongly is taken back
    assert trace[0].prompt_length == given["input_ids"].shape[1]  # what was drafted is no prompt
    worst = generated_error(found, wanted)
    assert worst < TOLERANCE
    ledger.note(name, "lookup", worst)


@each_attention
@pytest.mark.parametrize(("form", "layer"), [("several", 1), ("right", 2), ("text row", 3)])
@each_family
def test_merging(name: str, form: str, layer: int, attention: str, ledger: Ledger) -> None:
    given, model = inputs(name, form), tiny(name, attention)
    if name == "gemma3n":
        reason = "has 2 states a token and the selector replaces one"
        with (
            pytest.raises(PruningError, match=reason) as refusal,
            prune(model, Merging(), 0.6, layer),
        ):
            model(**given)
        ledger.note(name, "merging", f"refused: {refusal.value}")
        return
    found, kept = pruned_logits(model, given, Merging(), 0.6, layer, step_of(name))
    assert same(kept, kept_by_scattered(given, 0.6))
    worst = found.error(wanted_merged(name, form, layer))
    assert worst < TOLERANCE
    ledger.note(name, "merging", worst)


def test_tiny_models_are_as_particular_as_they_are_called() -> None:
    for name in FAMILIES:
        attentions = [layer.self_attn for layer in decoder_layers(tiny(name, "eager"))]
        windows = {
            getattr(part, "sliding_window", None) or getattr(part.config, "sliding_window", None)
            for part in attentions
        }
        assert (9 in windows) == (name in PARTICULAR["windows"]), name
        shared = any(getattr(part, "is_kv_shared_layer", False) for part in attentions)
        assert shared == (name in PARTICULAR["shared keys"]), name
        own = getattr(attentions[0].config, "hidden_size_per_layer_input", None)
        assert bool(own) == (name in PARTICULAR["layer inputs"]), name
