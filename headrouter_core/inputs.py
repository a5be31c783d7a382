"""``prune_inputs``: prompts without dropped audio tokens, for engines that take embeddings.

What :func:`headrouter_core.prune` does inside a running model, this does before the first layer.
That is **another function**: there, layers 0..M-1 still see every token; here, no layer does. Its
reference is a full-length run in which no layer can attend to the dropped tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from headrouter_core import families
from headrouter_core.beginning import Beginning
from headrouter_core.budget import Budget, Keep, Ratio
from headrouter_core.calls import CACHE_NAMES
from headrouter_core.choice import check_selections, check_selector, choose_each, entry
from headrouter_core.columns import Lease
from headrouter_core.compaction import Compaction, compact
from headrouter_core.errors import PruningError, UnsupportedModelError, UsageError
from headrouter_core.families.base import Anatomy
from headrouter_core.finite import raise_from
from headrouter_core.forwards import Prefill
from headrouter_core.intake import Intake
from headrouter_core.prompt import Reader
from headrouter_core.pruning import check_profile, default_layer
from headrouter_core.selectors.base import Selection, Selector
from headrouter_core.trace import Trace


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
    result reach over kept tokens, so prompts longer than a window are refused.

    Adapters (LoRA) run as they are switched when this is called, and later as the caller has them:
    Granite Speech's ``generate`` switches its own off where it is given embeddings.

    Args:
        model: a loaded model of a supported family, or one that wraps it.
        inputs: what the model would be given: whole prompts, as its processor makes them.
        selector: the method that chooses which audio tokens to keep; none that merges states.
        ratio: fraction of each row's audio tokens to remove, in [0, 1), at its decimal value; a
            list holds one a row of every forward (beams and return sequences of a row count once).
        layer: M; the profile's, else 2. Only the selection depends on it.
        keep: instead of a ratio, how many audio tokens of each row to keep, at least 1; all of them
            where a row has fewer. A list holds one a row.
        force: use a profile although its weights or probe layer are not this model's.

    Raises:
        UsageError: ratio, keep or layer out of range, a cache in the inputs, a merging selector, or
            this thread or task is pruning the model.
        UnsupportedModelError: layers take more than embeddings, as those of Gemma 3n and Gemma 4.
        ProfileMismatchError: the selector's profile belongs to another model or layer.
        SelectionError: the selector broke its contract.
        NonFiniteError: states are NaN or infinite; it says where that began.
        PruningError: the prompts cannot be read, or are longer than a sliding window.
    """
    check_selector(selector)
    anatomy = families.locate(model)
    layer = default_layer(selector) if layer is None else layer
    anatomy.check_layer(layer)
    check_profile(model, selector, layer, force)
    _check_embeddable(anatomy)
    if any(inputs.get(name) is not None for name in CACHE_NAMES):
        raise UsageError("inputs hold a cache; prune_inputs takes whole prompts without")
    budget = Budget(ratio, keep)
    reader = Reader(anatomy.audio_ids, anatomy.marker_ids, selector.text_tokens, budget)
    intake = Intake(anatomy, selector.needs, reader, layer, Lease(anatomy.root))
    prefill = intake.begin(dict(inputs), None)
    if not intake.tally.heard:
        warnings.warn("no audio was seen in the inputs", stacklevel=3)
    _check_windows(anatomy, prefill)

    seen = Beginning(anatomy, selector, prefill, layer)
    seen.run(inputs)
    selections = choose_each(selector, prefill.rows, prefill.capture, seen.entered, first=0)
    _check_entered(anatomy, prefill, seen.entered, inputs)
    check_selections(selector, prefill.rows, selections)
    _check_merged(selector, selections)
    compaction = compact(layer, prefill.rows, selections, prefill.real, seen.entered.device)
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
        "inputs_embeds": compaction.gather(seen.embeds),
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


def _check_windows(anatomy: Anatomy, prefill: Prefill) -> None:
    """Raise where a sliding window would reach further over kept tokens than over all."""
    reach = min((part.window for part in anatomy.attentions if part.window), default=None)
    for row in prefill.rows:
        if reach is not None and row.pruned and row.real > reach:
            raise PruningError(
                f"a prompt has {row.real} tokens and some layers see {reach}: without the dropped"
                " tokens they would see further back; use prune, or shorter audio"
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


def _check_merged(selector: Selector, selections: list[Selection]) -> None:
    if any(selection.states is not None for selection in selections):
        raise UsageError(
            f"{selector.name} replaces states of the pruning layer, which embeddings are not; use"
            " prune, or a selector that does not merge"
        )


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
