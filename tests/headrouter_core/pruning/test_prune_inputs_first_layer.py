"""``prune_inputs`` from layer 0 on: chosen from what enters the first layer, without running it."""

import pytest
import torch

from headrouter_core import AdaptiveSegments, FastV, Frame, Segments, prune_inputs
from headrouter_core.errors import UsageError
from headrouter_core.scoring import keep_count

from ..tiny.families import decoder_layers
from ..tiny.models import AUDIO, batch, row
from .whole_models import model, only_text, profile

ROWS = [row("system", 11, "and then", 9, "which?"), row("s", 9, "why"), row("only text")]


@pytest.mark.parametrize("name", ["qwen2_5_omni", "voxtral", "granite_speech", "gemma4_unified"])
@torch.no_grad()
def test_states_are_those_that_enter_the_first_layer(name):
    whole = model(name, "sdpa")
    given = batch(ROWS) if name == "qwen2_5_omni" else only_text(batch(ROWS))
    entered = []
    first = decoder_layers(whole)[0]
    with first.register_forward_pre_hook(lambda module, args: entered.append(args[0].clone())):
        whole(**given)
    seen, ran = [], []

    class Noting:
        name, needs, text_tokens = "noting", Segments.needs, "all"

        def __call__(self, view, k):
            seen.append(view.hidden_states)
            return Segments()(view, k)

    with first.register_forward_hook(lambda *call: ran.append(call)):
        pruned = prune_inputs(whole, given, Noting(), 0.6, 0, max_new_tokens=0)
    assert not ran
    for number, states in enumerate(seen):
        audio = given["input_ids"][number] == AUDIO
        assert torch.equal(states, entered[0][number][audio])
    wanted = [keep_count(20, 0.6), keep_count(9, 0.6), 0]
    assert [len(entry.kept) for entry in pruned.trace] == wanted


@torch.no_grad()
def test_what_is_asked_changes_nothing():
    whole = model("qwen2_5_omni", "sdpa")
    one, two = (
        prune_inputs(whole, batch([row(before, 30, after)]), Segments(), 0.6, 0)
        for before, after in (("s", "which?"), ("s", "what now?"))
    )
    shared = 2 + keep_count(30, 0.6)  # "s", the marker and the audio
    assert torch.equal(one["inputs_embeds"][:, :shared], two["inputs_embeds"][:, :shared])
    assert torch.equal(one.trace[0].kept, two.trace[0].kept)


@torch.no_grad()
def test_frame_keeps_the_same_from_any_layer():
    whole, given = model("qwen2_5_omni", "sdpa"), batch(ROWS)
    one, two = (prune_inputs(whole, given, Frame(), 0.6, layer) for layer in (0, 2))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_selectors_that_probe_are_refused():
    whole, given = model("qwen2_5_omni", "sdpa"), batch(ROWS)
    for selector in (FastV(), AdaptiveSegments(profile(whole))):
        with pytest.raises(UsageError, match=f"{selector.name} reads queries or keys"):
            prune_inputs(whole, given, selector, 0.6, 0)
    for layer in (-1, False, 0.0):
        with pytest.raises(UsageError, match="layer"):
            prune_inputs(whole, given, Segments(), 0.6, layer)
