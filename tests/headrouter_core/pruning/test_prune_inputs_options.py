"""``prune_inputs`` with merging selectors, a budget an audio, and windows that decoding passes.

The references are written without the code they check: sums in plain loops, selectors called by
hand on parts of a view, and full-length runs in which no layer sees what was dropped.
"""

from dataclasses import replace

import pytest
import torch

from headrouter_core import prune_inputs
from headrouter_core.errors import PruningError, UsageError
from headrouter_core.pruning.audios import lengths
from headrouter_core.scoring import keep_count
from headrouter_core.selectors import (
    AdaptiveSegments,
    AffinityMerge,
    Energy,
    Frame,
    HeadRouter,
    Random,
)

from ..checking.exactness import TOLERANCE
from ..checking.masked import dropped_columns, error, masked
from ..checking.probes import Recorder, Scattered
from ..tiny.families import build, decoder_layers
from ..tiny.models import AUDIO, BEGIN, END, batch, row
from .whole_models import inputs, model, only_text, profile, with_audio

#: Two audios and text between; one; none.
ROWS = [row("system", 11, "and then", 9, "which?"), row("s", 9, "why"), row("only text")]


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
