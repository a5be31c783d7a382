"""``prune_inputs`` with merging selectors: embeddings become the means that states would."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from headrouter_core import prune_inputs
from headrouter_core.errors import SelectionError
from headrouter_core.selectors import (
    AdaptiveSegments,
    AffinityMerge,
    Merge,
    Selection,
)

from ..checking.exactness import TOLERANCE
from ..checking.masked import dropped_columns, error, masked
from ..checking.probes import Merging, Scattered
from ..checking.views import make_view
from ..selectors.test_selector_contract import every_selector, make_selectors
from ..tiny.families import decoder_layers
from ..tiny.models import AUDIO, batch, row
from .whole_models import model, only_text, positions, profile

#: Two audios and text between; one; none.
ROWS = [row("system", 11, "and then", 9, "which?"), row("s", 9, "why"), row("only text")]


@every_selector
def test_a_merge_is_how_states_came_about(index):
    selector, view = make_selectors(audios=[97])[index], make_view(97)
    selection = selector(view, 30)
    assert (selection.merge is None) == (selection.states is None)
    if selection.merge is not None:
        wanted = selection.merge.of(view.hidden_states, 30)
        torch.testing.assert_close(wanted, selection.states, rtol=1e-5, atol=1e-6)
        sums = torch.zeros(30).index_add(0, selection.merge.into, selection.merge.shares)
        torch.testing.assert_close(sums, torch.ones(30))
        # each kept token goes into itself
        assert torch.equal(selection.merge.into[selection.kept], torch.arange(30))


def test_means_of_tokens_in_any_order():
    into, shares = torch.tensor([2, 0, 2, 0, 1]), torch.tensor([0.25, 0.5, 0.75, 0.5, 1])
    values = torch.arange(10.0).view(5, 2)
    found = Merge(into, shares).of(values.half(), 3)
    assert found.dtype == torch.float32
    assert found.tolist() == [[4, 5], [8, 9], [3, 4]]


@pytest.mark.parametrize("name", ["qwen2_5_omni", "voxtral", "granite_speech", "gemma4_unified"])
@pytest.mark.parametrize("merging", [AffinityMerge, AdaptiveSegments])
@torch.no_grad()
def test_merged_embeddings(name, merging):
    whole, reference = model(name, "sdpa"), model(name, "eager")
    selector = merging(profile(whole)) if merging is AdaptiveSegments else merging()
    given = batch(ROWS) if name == "qwen2_5_omni" else only_text(batch(ROWS))
    mask = given["attention_mask"]
    seen = []

    class Noting:
        name, needs, text_tokens = "noting", selector.needs, selector.text_tokens

        def __call__(self, view, k):
            seen.append(selector(view, k))
            return seen[-1]

    pruned = prune_inputs(whole, given, Noting(), 0.6, 2, max_new_tokens=0)
    entered = []
    first = decoder_layers(reference)[0]
    handle = first.register_forward_pre_hook(lambda module, args: entered.append(args[0].clone()))
    reference(**given, position_ids=positions(name, mask))
    handle.remove()
    states = {}
    for number, selection in enumerate(seen):
        columns = (given["input_ids"][number] == AUDIO).nonzero()[:, 0].tolist()
        sums = {}
        for token, (into, share) in enumerate(
            zip(selection.merge.into.tolist(), selection.merge.shares.tolist(), strict=True)
        ):
            sums[into] = sums.get(into, 0) + share * entered[0][number, columns[token]]
        for place, kept in enumerate(selection.kept.tolist()):
            states[number, columns[kept]] = sums[place]
    kept = [entry.kept for entry in pruned.trace]
    dropped = dropped_columns(given["input_ids"], mask, AUDIO, kept)
    with masked(decoder_layers(reference), 0, dropped, states):
        wanted = reference(**given, position_ids=positions(name, mask)).logits[:, -1]
    found = whole(**pruned).logits[:, -1]
    assert error(found, wanted) < TOLERANCE
    bare = prune_inputs(whole, given, Bare(kept), 0.6, 2, max_new_tokens=0)
    assert error(whole(**bare).logits[:, -1], wanted) > 1e-3  # merging is to be seen


@dataclasses.dataclass(frozen=True)
class Bare(Scattered):
    """Keep what another kept, as it is."""

    kept: tuple = ()

    def __init__(self, kept):
        object.__setattr__(self, "kept", kept)
        object.__setattr__(self, "text_tokens", "all")

    def __call__(self, view, k):
        return Selection(self.kept[view.sample])


@dataclasses.dataclass(frozen=True)
class Spoiled(Merging):
    """A merge as it may not be."""

    change: dict = dataclasses.field(default_factory=dict)

    def __call__(self, view, k):
        into, shares = torch.zeros(view.audio_tokens).long(), torch.ones(view.audio_tokens)
        selection = replace(super().__call__(view, k), merge=Merge(into, shares))
        if "merge" in self.change or "states" in self.change:
            return replace(selection, **self.change)
        return replace(selection, merge=replace(selection.merge, **self.change))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"merge": "mean"}, "as merge 'mean'"),
        ({"states": None}, "as merge .* a Merge, beside states"),
        ({"into": torch.zeros(3).long()}, "as merge.into"),
        ({"into": torch.zeros(20)}, "as merge.into"),
        ({"into": torch.full((20,), 8)}, "shares that go into 0 to 7"),
        ({"into": torch.full((20,), -1)}, "shares that go into 0 to 7"),
        ({"shares": torch.ones(20).long()}, "as merge.shares"),
        ({"shares": torch.full((20,), torch.nan)}, "finite shares"),
    ],
)
def test_merges_that_break_the_contract(change, found):
    given = batch([row("system", 20, "question?")])
    with pytest.raises(SelectionError, match=found):
        prune_inputs(model("qwen2_5_omni", "sdpa"), given, Spoiled(change=change), 0.6)
