"""Running only what depends on the choice: layers from M on, for many choices at once.

For calibration and evaluation. :func:`~calibrate.estimation.replay.prefix.capture` runs the
whole model once on one sample. :func:`replay` then gives the logits of the answer for a batch of
choices, equal to what ``prune`` would give for each, and :func:`replay_cache` the cache to generate
an answer from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import Cache

from calibrate.estimation.replay.prefix import Prefix, first_output
from headrouter_core import families
from headrouter_core.basics.arguments import floating, shown
from headrouter_core.basics.precision import accumulating
from headrouter_core.engine.finite import raise_from, usable
from headrouter_core.engine.forwards import Forward
from headrouter_core.engine.shortening.columns import Columns
from headrouter_core.engine.shortening.layout import Compaction, compact
from headrouter_core.engine.shortening.memory import remember
from headrouter_core.errors import UsageError
from headrouter_core.families.base import Anatomy
from headrouter_core.families.calls import with_cache
from headrouter_core.selectors.base import Selection

Edit = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@torch.no_grad()
def replay(
    model: nn.Module,
    prefix: Prefix,
    kept: torch.Tensor,
    states: torch.Tensor | None = None,
    edit: Edit | None = None,
) -> torch.Tensor:
    """Return the answer's logits for each of V choices, from layers M on.

    Args:
        model: the model that ``prefix`` was captured from.
        prefix: the sample.
        kept: LongTensor [V, k], rows ascending: indices into the audio tokens; k = N_a prunes none.
        states: [V, k, D], states that replace those of the kept tokens (merging methods).
        edit: changes what enters layer M: called with hidden states [V, P, D] and the original
            column [V, P] of each, it returns hidden states.

    Returns:
        [V, n, vocabulary]: logits that predict the answer's n tokens.

    Raises:
        UsageError: no answer, ``kept`` is not ascending inside the audio tokens, or ``states`` are
            not of its shape.
        NonFiniteError: logits are NaN or infinite.
    """
    answer = len(_checked(prefix).answer_ids)
    if not answer:
        raise UsageError("there is no answer to score; capture with prompt_length and the answer")
    anatomy = families.locate(model)
    compaction = _compaction(prefix, kept, states)
    hidden = compaction.states(prefix.hidden_states[None])
    if edit is not None:
        hidden = edit(hidden, compaction.columns.origin)
    hidden = _run(anatomy, prefix, compaction, hidden, None)
    logits = anatomy.logits(hidden[:, -answer - 1 : -1])
    if not bool(usable(logits).all()):
        raise_from("the logits of a pruned answer are not finite", anatomy.root, {})
    return logits


@torch.no_grad()
def replay_cache(
    model: nn.Module, prefix: Prefix, kept: torch.Tensor, states: torch.Tensor | None = None
) -> Cache:
    """Return the cache that a pruned prefill would leave, with one row for each of V choices.

    It lacks the last token of what was captured, so that ``generate`` with all of its input ids
    goes on from there, inside ``prune`` on the same model and layer.

    Args:
        model: the model that ``prefix`` was captured from, with ``cached=True``.
        prefix: the sample.
        kept: LongTensor [V, k], see :func:`replay`.
        states: [V, k, D], see :func:`replay`.

    Raises:
        UsageError: captured without a cache, ``kept`` is not ascending inside the audio tokens, or
            ``states`` are not of its shape.
    """
    early = _checked(prefix).early
    if early is None:
        raise UsageError("the sample was captured without its cache; capture with cached=True")
    compaction = _compaction(prefix, kept, states)
    cache = DynamicCache()
    for index, parts in enumerate(early):
        keys, values = (part.expand(len(kept), -1, -1, -1) for part in parts)
        cache.update(keys, values, index)
    hidden = compaction.states(prefix.hidden_states[None])
    anatomy = families.locate(model)
    _run(anatomy, prefix, compaction, hidden, cache)
    remember(cache, compaction.columns, anatomy.root)
    cache.crop(-1)
    return cache


def _compaction(prefix: Prefix, kept: torch.Tensor, states: torch.Tensor | None) -> Compaction:
    """Return how the sample's tokens are left out in each of the choices."""
    _check_kept(kept, len(prefix.audio))
    if states is not None:
        sizes = *kept.shape, prefix.hidden_states.shape[-1]
        floating("states", states, str(list(sizes)))
    device = prefix.hidden_states.device
    selections = [
        Selection(indices, states=None if states is None else states[index])
        for index, indices in enumerate(kept.to(device))
    ]
    rows = [prefix.row.keeping(kept.shape[1])] * len(kept)
    shape = len(kept), len(prefix.input_ids)
    real = torch.ones(shape, dtype=torch.bool, device="cpu")
    return compact(Columns.untouched(prefix.layer, len(kept), 0, device), rows, selections, real)


def _run(
    anatomy: Anatomy, prefix: Prefix, compaction: Compaction, hidden: torch.Tensor, cache: Any
) -> torch.Tensor:
    """Run layers from M on over [V, P, D], and fill ``cache`` if there is one."""
    forward = Forward({}, columns=compaction.columns, compaction=compaction)
    for index, given in enumerate(prefix.arguments, prefix.layer):
        layer = anatomy.layers[index]
        names = ("position_embeddings", *anatomy.family.per_token)
        changed = {name: forward.moved(given[name]) for name in names}
        changed["attention_mask"] = forward.mask(anatomy, index, hidden, None)
        if cache is not None:
            changed |= {**with_cache(type(layer).forward, cache), "use_cache": True}
        hidden = first_output(layer(hidden, **{**given, **changed}))
    return hidden


def answer_nll(logits: torch.Tensor, answer_ids: torch.Tensor) -> torch.Tensor:
    """Return the answer's mean negative log-likelihood [V], nats per token, in float32 or better.

    Args:
        logits: [V, n, vocabulary], as :func:`replay` returns them.
        answer_ids: LongTensor [n].
    """
    targets = answer_ids.to(logits.device).expand(logits.shape[:2])
    logits = logits.to(accumulating(logits.dtype))
    losses = nn.functional.cross_entropy(logits.mT, targets, reduction="none")
    return losses.mean(dim=1)


def answer_divergence(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return the mean Jensen-Shannon divergence [V] over an answer's tokens, nats, in [0, log 2].

    The mean Kullback-Leibler divergence of two distributions from their mean (Lin, 1991): unlike
    that of one from the other it is bounded, so that no single token outweighs all others.

    Args:
        logits: [V, n, vocabulary], as :func:`replay` returns them.
        reference: [1, n, vocabulary], of what they are compared with.
    """
    high = accumulating(logits.dtype)
    one, other = logits.to(high).softmax(-1), reference.to(high).softmax(-1)
    mean = (one + other) / 2
    of_mean, of_one, of_other = (torch.special.entr(part).sum(-1) for part in (mean, one, other))
    apart: torch.Tensor = of_mean - (of_one + of_other) / 2
    return apart.clamp(min=0).mean(dim=1)


def _checked(prefix: Prefix) -> Prefix:
    if not isinstance(prefix, Prefix):
        raise UsageError(f"prefix is {shown(prefix)}; pass what capture returns")
    return prefix


def _check_kept(kept: torch.Tensor, total: int) -> None:
    is_long = isinstance(kept, torch.Tensor) and kept.dtype == torch.long
    if not is_long or kept.ndim != 2 or not kept.numel():
        raise UsageError(f"kept is {shown(kept)}; it must be a LongTensor [V, k]")
    inside = int(kept.min()) >= 0 and int(kept.max()) < total
    if not inside or not bool((kept.diff(dim=1) > 0).all()):
        raise UsageError(f"rows of kept must ascend from 0 to at most {total - 1}, without repeats")
