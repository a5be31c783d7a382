"""``prune_inputs``: prompts without dropped audio tokens, for engines that take embeddings.

What :func:`headrouter_core.prune` does inside a running model, this does before the first layer.
That is **another function**: there, layers 0..M-1 still see every token; here, no layer does. Its
reference is a full-length run in which no layer can attend to the dropped tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from headrouter_core.basics.arguments import shown, whole
from headrouter_core.engine.choice.choosing import (
    check_selections,
    choose_each,
    entry,
)
from headrouter_core.engine.choice.trace import Trace
from headrouter_core.engine.finite import raise_from
from headrouter_core.engine.forwards import Prefill
from headrouter_core.engine.prompt.audio_masks import take_mask
from headrouter_core.engine.prompt.budget import Budget, Keep, Ratio
from headrouter_core.engine.shortening.columns import Columns
from headrouter_core.engine.shortening.layout import Compaction, compact
from headrouter_core.errors import PruningError, UnsupportedModelError, UsageError
from headrouter_core.families.base import Anatomy
from headrouter_core.families.calls import CACHE_NAMES
from headrouter_core.pruning import audios
from headrouter_core.pruning.beginning import Beginning
from headrouter_core.pruning.context import open_intake
from headrouter_core.selectors.base import Selection, Selector


class PrunedInputs(dict[str, torch.Tensor]):
    """A batch of pruned prompts: use as ``model(**pruned)`` or ``model.generate(**pruned)``.

    ``inputs_embeds`` [B, P, D]; ``attention_mask`` [B, P], 0 at padding, which is on the left;
    ``position_ids`` [B, P], or [3, B, P] in families with multimodal rotary encoding.
    """

    trace: Trace
    """One entry a row."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], trace: Trace) -> None:
        super().__init__(tensors)
        self.trace = trace


@torch.no_grad()
def prune_inputs(
    model: nn.Module,
    inputs: Mapping[str, Any],
    selector: Selector,
    ratio: Ratio | None = None,
    layer: int | None = None,
    *,
    keep: Keep | None = None,
    per_audio: bool | Sequence[Sequence[int]] = False,
    max_new_tokens: int | None = None,
    force: bool = False,
) -> PrunedInputs:
    """Drop audio tokens before the first layer, chosen as ``prune`` would choose them.

    Layers 0..M-1 run once, on the whole prompt, for the selector to read layer M-1. Then the
    dropped tokens leave the *embeddings*: unlike in :func:`headrouter_core.prune`, which lets
    layers 0..M-1 see them, nothing of them reaches any layer. It is cheaper and works in any engine
    that takes embeddings and positions, and its answers are not those of ``prune``.

    Kept tokens keep their positions, so positions have gaps, and decoding goes on behind the last
    of them, not at P: ``generate`` does; who steps by hand passes ``position_ids``. (Engines that
    number embeddings from 0 compute yet another function.) Sliding windows of whoever runs the
    result reach over kept tokens, so a model that has some needs ``max_new_tokens``, and what is
    longer than a window with them is refused.

    Selectors that merge take the weighted means that :attr:`Selection.merge` names of embeddings
    instead of states; one that only names states of layer M is refused.

    Adapters (LoRA) run as they are switched when this is called, and later as the caller has them:
    Granite Speech's ``generate`` switches its own off where it is given embeddings.

    Args:
        model: a loaded model of a supported family, or one that wraps it.
        inputs: what the model would be given: whole prompts, as its processor makes them; or
            embeddings, and as ``audio_mask``, BoolTensor [B, L], which of them are audio.
        selector: the method that chooses which audio tokens to keep.
        ratio: fraction of each row's audio tokens to remove, in [0, 1), at its decimal value; a
            list holds one a row.
        layer: M; the profile's, else 2. Only the selection depends on it. With 0 no layer runs, and
            selectors that read states alone, or nothing, are given those that enter the first.
        keep: instead of a ratio, how many audio tokens of each row to keep, at least 1; all of them
            where a row has fewer. A list holds one a row.
        per_audio: give each audio of a prompt its row's ratio or number of tokens for itself, and
            choose within it: the selector is called once an audio, :attr:`View.sample` numbers
            audios, and entries of rows with several have no spread and no mixing. ``True``: an
            audio is a run of audio tokens without any other between; where that is not so, pass the
            audio tokens of each audio, one list a row.
        max_new_tokens: how many tokens will be generated at most; 0 for the prompt's logits alone.
        force: use a profile although its weights or probe layer are not this model's.

    Raises:
        UsageError: an argument of another kind or out of range, a cache in the inputs, a selector
            that merges states only, audios that cannot be told apart, or this thread or task is
            pruning the model.
        UnsupportedModelError: layers take more than embeddings, as those of Gemma 3n and Gemma 4.
        ProfileMismatchError: the selector's profile belongs to another model or layer.
        SelectionError: the selector broke its contract.
        NonFiniteError: states are NaN or infinite; it says where that began.
        PruningError: the prompts cannot be read, or reach over a sliding window.
    """
    if not isinstance(inputs, Mapping):
        raise UsageError(f"inputs are {shown(inputs)}; pass what the processor returned")
    if not isinstance(inputs.get("input_ids"), torch.Tensor | None):
        raise UsageError(
            f"input_ids are {shown(inputs['input_ids'])}; pass them as a tensor [B, L]"
        )
    budget = Budget(ratio, keep)
    intake = open_intake(model, selector, budget, layer, first=0, force=force)
    anatomy, layer = intake.anatomy, intake.layer
    _check_embeddable(anatomy)
    if any(inputs.get(name) is not None for name in CACHE_NAMES):
        raise UsageError("inputs hold a cache; prune_inputs takes whole prompts without")
    inputs, read = take_mask(inputs, anatomy.audio_ids[0])
    prefill = intake.begin(dict(read))
    if not intake.heard:
        warnings.warn("no audio was seen in the inputs", stacklevel=3)
    counts = audios.counted(anatomy.family, prefill.rows, per_audio)
    kept = [
        [budget.kept(count, index, len(prefill.rows)) for count in each]
        for index, each in enumerate(counts or ())
    ]
    if counts is not None:
        rows = [row.keeping(sum(each)) for row, each in zip(prefill.rows, kept, strict=True)]
        prefill = replace(prefill, rows=rows)
    _check_windows(anatomy, prefill, max_new_tokens)

    seen = Beginning(anatomy, selector, prefill, layer)
    seen.run(inputs)
    parts = selector, prefill.rows, prefill.capture, seen.entered
    if counts is None:
        selections = choose_each(*parts, first=0)
    else:
        selections = audios.choose_within_each(*parts, counts, kept)
    _check_entered(anatomy, prefill, seen.entered, inputs)
    check_selections(selector, prefill.rows, selections)
    embedded = [
        _embedded(selector, selection, seen.embeds[index, row.audio.to(seen.embeds.device)])
        for index, (row, selection) in enumerate(zip(prefill.rows, selections, strict=True))
    ]
    nothing = Columns.untouched(layer, len(prefill.real), 0, seen.entered.device)
    compaction = compact(nothing, prefill.rows, embedded, prefill.real)
    trace = Trace()
    trace._extend(map(entry, prefill.rows, selections))
    pruned = PrunedInputs(_gathered(compaction, prefill, seen, inputs), trace)
    _warn_of_packing(anatomy, pruned["position_ids"])
    return pruned


def _gathered(
    compaction: Compaction, prefill: Prefill, seen: Beginning, inputs: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """Return embeddings, mask and positions of what is kept."""
    given = seen.positions
    if given is None or given.ndim < 3:
        # not the decoder's own: without being told it counts padding too
        given = inputs.get("position_ids")
    if given is None:
        given = (prefill.real.cumsum(1) - 1).clamp(min=0)
    if given.ndim == 3:
        given = given[-3:]  # the first of four rows counts text, for masks
    device = seen.embeds.device
    return {
        "inputs_embeds": compaction.states(seen.embeds),
        "attention_mask": compaction.columns.padding().long().to(device),
        "position_ids": compaction.gather(given.to(device)[..., None])[..., 0],
    }


def _check_embeddable(anatomy: Anatomy) -> None:
    """Raise where embeddings are not all that layers know of a token."""
    if anatomy.family.per_token:
        raise UnsupportedModelError(
            f"layers of {anatomy.family.name} look up {', '.join(anatomy.family.per_token)} by"
            " token id beside the embedding, so embeddings alone do not make the prompt; use prune"
        )


def _check_windows(anatomy: Anatomy, prefill: Prefill, max_new_tokens: int | None) -> None:
    """Raise where a sliding window would reach further over kept tokens than over all."""
    if max_new_tokens is not None:
        max_new_tokens = whole("max_new_tokens", max_new_tokens, 0)
    reach = min((part.window for part in anatomy.attentions if part.window), default=None)
    pruned = [row.real for row in prefill.rows if row.pruned]
    if reach is None or not pruned:
        return
    if max_new_tokens is None:
        raise UsageError(
            f"some layers see {reach} tokens; say how many will be generated (max_new_tokens), for"
            " without the dropped tokens they would see further back"
        )
    last = max(pruned) + max(max_new_tokens - 1, 0)  # the last new token is given to no layer
    if last > reach:
        raise PruningError(
            f"a prompt has {max(pruned)} tokens, with new ones {last}, and some layers see {reach}:"
            " without the dropped tokens they would see further back; use prune, or shorter audio"
        )


def _check_entered(
    anatomy: Anatomy, prefill: Prefill, entered: torch.Tensor, inputs: Mapping[str, Any]
) -> None:
    """Raise unless the states that enter layer M [..., B, L, D] are finite, padding aside."""
    bad = ~entered.isfinite().all(-1) & prefill.real.to(entered.device)
    if bool(bad.any()):
        row = int(bad.nonzero()[0, -2])
        what = f"the states of row {row} are not finite"
        raise_from(what, anatomy.root, inputs, "what enters the pruning layer")


def _embedded(selector: Selector, selection: Selection, embeds: torch.Tensor) -> Selection:
    """Return a row's selection with the means of embeddings [N_a, D] in the place of states."""
    if selection.states is None:
        return selection
    if selection.merge is None:
        raise UsageError(
            f"{selector.name} replaces states of the pruning layer, which embeddings are not; use"
            " prune, or a selector whose selection has a merge"
        )
    return replace(selection, states=selection.merge.of(embeds, len(selection.kept)))


def _warn_of_packing(anatomy: Anatomy, positions: torch.Tensor) -> None:
    """Warn of a kernel that splits a single row where its positions have gaps."""
    implementation = anatomy.attentions[0].config._attn_implementation
    gaps = positions.shape[-1] > 1 and bool((positions.diff(dim=-1) != 1).any())
    if "flash" in implementation and positions.shape[:-1] == (1,) and gaps:
        warnings.warn(
            "flash attention of transformers takes a single row whose positions have gaps for"
            " several prompts; run it with attn_implementation='sdpa', or in another engine",
            stacklevel=4,
        )
