"""``prune_inputs`` with merging selectors, a budget an audio, and windows that decoding passes.

The references are written without the code they check: sums in plain loops, selectors called by
hand on parts of a view, and full-length runs in which no layer sees what was dropped.
"""

import dataclasses
from dataclasses import replace

import pytest
import torch

from headrouter_core import families, prune_inputs
from headrouter_core.errors import PruningError, SelectionError, UsageError
from headrouter_core.pruning.audios import lengths
from headrouter_core.scoring import keep_count
from headrouter_core.selectors import (
    AdaptiveSegments,
    AffinityMerge,
    Energy,
    Frame,
    HeadRouter,
    Merge,
    Random,
    Selection,
)

from ..bundles import make_profile
from ..exactness import TOLERANCE
from ..masked import dropped_columns, error, masked
from ..probes import Merging, Recorder, Scattered
from ..selectors.test_selector_contract import every_selector, make_selectors
from ..tiny_families import build, decoder_layers
from ..tiny_models import AUDIO, BEGIN, END, batch, row
from ..views import make_view
from .test_prune_inputs import inputs, model, positions, with_audio

#: Two audios and text between; one; none.
ROWS = [row("system", 11, "and then", 9, "which?"), row("s", 9, "why"), row("only text")]


def profile(whole):
    return make_profile(model=families.model_info(whole, 2))


# merging


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


def only_text(given):
    return {key: given[key] for key in ("input_ids", "attention_mask")}


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


# a budget for each audio


@pytest.mark.parametrize(
    ("columns", "counts"),
    [([3, 4, 5], [3]), ([3, 5, 6, 9], [1, 2, 1]), ([0], [1]), ([], []), ([7, 9], [1, 1])],
)
def test_an_audio_is_a_run_of_columns(columns, counts):
    assert lengths(torch.tensor(columns, dtype=torch.long)) == counts


@pytest.mark.parametrize("ratio", [0.3, 0.6, 0.95])
@torch.no_grad()
def test_each_audio_has_its_own_budget(ratio):
    whole, given = model("qwen2_5_omni", "sdpa"), batch(ROWS)
    whole_view = Recorder()
    prune_inputs(whole, given, whole_view, ratio)
    for selector in (
        *(HeadRouter(profile(whole)), HeadRouter(profile(whole), text_tokens="after")),
        *(AffinityMerge(), AdaptiveSegments(profile(whole)), Random(3), Frame()),
        Energy([torch.rand(11), torch.rand(9), torch.rand(9)]),
    ):
        pruned = prune_inputs(whole, given, selector, ratio, 2, per_audio=True)
        first, second, third = pruned.trace
        k, tail = keep_count(11, ratio), keep_count(9, ratio)
        assert (len(first.kept), len(second.kept), len(third.kept)) == (k + tail, tail, 0)
        assert (first.audio_tokens, third.audio_tokens) == (20, 0)
        assert first.spread is None
        wanted = []
        for number, (view, start, count) in enumerate(
            [
                (whole_view.views[0], 0, 11),
                (whole_view.views[0], 11, 9),
                (whole_view.views[1], 0, 9),
            ]
        ):
            cut = replace(
                view,
                audio_tokens=count,
                sample=number,
                queries=view.queries if selector.text_tokens == "all" else view.queries[:, -6:],
                keys=view.keys[:, start : start + count],
                rotated_keys=None,
                last_attention=None,
                hidden_states=view.hidden_states[start : start + count],
            )
            wanted.append((selector(cut, keep_count(count, ratio)), start))
        if selector.text_tokens == "all":
            told = [(selection.kept + start).tolist() for selection, start in wanted]
            assert first.kept.tolist() == told[0] + told[1]
            assert second.kept.tolist() == told[2]
            if second.spread is not None:
                assert torch.equal(second.spread, wanted[2][0].spread)


@torch.no_grad()
def test_numbers_of_tokens_are_for_each_audio():
    whole, given = model("qwen2_5_omni", "sdpa"), batch(ROWS)
    for keep, told in ((10, (10 + 9, 9, 0)), ([3, 2, 1], (3 + 3, 2, 0))):
        pruned = prune_inputs(whole, given, Frame(), keep=keep, per_audio=True)
        assert tuple(len(entry.kept) for entry in pruned.trace) == told


@torch.no_grad()
def test_merging_stays_within_an_audio():
    """What the second audio is must not change what the first one becomes."""
    whole, given = model("qwen2_5_omni", "sdpa"), batch([ROWS[0]])
    other = {**given, "input_features": given["input_features"].clone()}
    other["input_features"][1] *= 3
    one, two = (
        prune_inputs(whole, x, AffinityMerge(), 0.6, 1, per_audio=True) for x in (given, other)
    )
    k = keep_count(11, 0.6)
    kept = slice(None, 7 + k)  # six of "system", the marker, and the first audio
    assert torch.equal(one["inputs_embeds"][0, kept], two["inputs_embeds"][0, kept])
    assert not torch.equal(one["inputs_embeds"], two["inputs_embeds"])


@torch.no_grad()
def test_one_audio_a_row_is_as_without():
    whole, given = model("qwen2_5_omni", "sdpa"), batch(ROWS[1:])
    selector = HeadRouter(profile(whole))
    one, two = (prune_inputs(whole, given, selector, 0.6, 2, per_audio=x) for x in (False, True))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert torch.equal(one.trace[0].spread, two.trace[0].spread)


def test_audios_side_by_side_are_counted_by_the_caller():
    ids = [BEGIN, *[AUDIO] * 20, END, *range(2, 9)]
    whole, given = model("voxtral", "sdpa"), only_text(batch([ids]))
    pruned = prune_inputs(whole, given, Frame(), 0.5, 2, per_audio=[[15, 5]])
    assert pruned.trace[0].kept.tolist() == [0, 2, 4, 6, 8, 10, 12, 15, 17]
    for wrong, message in (
        ([[15, 6]], r"\[15, 6\] of a row of 20 audio tokens"),
        ([[20, 0]], "a count of per_audio is 0"),
        ([[20], []], "one list of counts for each of 1 rows"),
        ([20], "one list of counts"),
        ("yes", "one list of counts"),
        (1, "per_audio is 1"),
    ):
        with pytest.raises(UsageError, match=message):
            prune_inputs(whole, given, Frame(), 0.5, 2, per_audio=wrong)
    moss = model("moss_transcribe_diarize", "sdpa")
    with pytest.raises(UsageError, match="text stands inside the audio of moss_transcribe"):
        prune_inputs(moss, given, Frame(), 0.5, 2, per_audio=True)


# windows


@pytest.mark.parametrize("name", ["muse_spark", "phi4_multimodal"])
@torch.no_grad()
def test_decoding_past_a_window_is_refused_and_up_to_it_exact(name):
    whole = with_audio(build(name))
    for layer in decoder_layers(whole):
        for holder in (layer.self_attn, layer.self_attn.config):
            if getattr(holder, "sliding_window", None):
                holder.sliding_window = 40
    given = only_text(batch([row("system", 20, "question?")]))
    length = given["input_ids"].shape[1]
    assert length == 37
    with pytest.raises(UsageError, match=r"some layers see 40 tokens; say how many .*max_new_tok"):
        prune_inputs(whole, given, Scattered(), 0.6)
    with pytest.raises(PruningError, match="has 37 tokens, with new ones 41, and some"):
        prune_inputs(whole, given, Scattered(), 0.6, max_new_tokens=5)
    options = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    pruned = prune_inputs(whole, given, Scattered(), 0.6, max_new_tokens=4)
    found = whole.generate(**pruned, max_new_tokens=4, **options)
    kept = [entry.kept for entry in pruned.trace]
    dropped = dropped_columns(given["input_ids"], given["attention_mask"], AUDIO, kept)
    with masked(decoder_layers(whole), 0, dropped):
        wanted = whole.generate(**given, max_new_tokens=4, **options)
    assert torch.equal(found.sequences, wanted.sequences[:, length:])
    for ours, theirs in zip(found.logits, wanted.logits, strict=True):
        assert error(ours, theirs) < TOLERANCE


@pytest.mark.parametrize("count", [-1, 2.5, "5", True])
def test_numbers_of_new_tokens_that_are_none(count):
    given = inputs("qwen2_5_omni", "one")
    with pytest.raises(UsageError, match="max_new_tokens is"):
        prune_inputs(model("qwen2_5_omni", "sdpa"), given, Frame(), 0.6, max_new_tokens=count)
