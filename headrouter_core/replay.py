"""Running only what depends on the choice: layers from M on, for many choices at once.

For calibration. :func:`capture` runs the whole model once on one sample; :func:`replay` then gives
the logits of the answer for a batch of choices, equal to what ``prune`` would give for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from headrouter_core import families
from headrouter_core.calls import Parameters
from headrouter_core.capture import Capture, watch
from headrouter_core.compaction import compact
from headrouter_core.errors import PruningError, UnsupportedModelError, UsageError
from headrouter_core.families.base import Anatomy
from headrouter_core.forwards import Forward
from headrouter_core.prompt import Reader, Row
from headrouter_core.selectors.base import Need, Selection, View
from headrouter_core.sessions import claimed, without_graphs

#: Arguments that :func:`replay` makes anew for each layer.
_OWN = ("hidden_states", "attention_mask", "position_ids", "past_key_values", "use_cache")

Edit = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Prefix:
    """One sample on entry to layer M: L tokens, of which the last may be a given answer."""

    layer: int
    """M."""
    hidden_states: torch.Tensor
    """[L, D]."""
    input_ids: torch.Tensor
    """LongTensor [L], on CPU."""
    prompt_length: int
    """Tokens from here on are the answer: neither audio nor text tokens."""
    row: Row
    """The prompt as the engine reads it."""
    audio: torch.Tensor
    """LongTensor [N_a]: columns of the audio tokens, on CPU."""
    text: torch.Tensor
    """LongTensor [N_t]: columns of all text tokens of the prompt, on CPU."""
    after: torch.Tensor
    """BoolTensor [N_t]: which of these come after the last audio token."""
    view: View
    """What was read from layer M-1, with the queries of all text tokens."""
    arguments: tuple[Mapping[str, Any], ...]
    """What each layer from M on was given besides hidden states, mask and cache."""

    @property
    def answer_ids(self) -> torch.Tensor:
        """LongTensor [n]: the answer's tokens."""
        return self.input_ids[self.prompt_length :]

    def seen_by(self, text_tokens: str, sample: int = 0) -> View:
        """Return the view of a selector that probes ``all`` text tokens, or those ``after``."""
        queries = self.view.queries
        if queries is not None and text_tokens == "after":
            queries = queries[:, self.after.to(queries.device)]
        return replace(self.view, queries=queries, sample=sample)


@torch.no_grad()
def capture(
    model: nn.Module,
    inputs: Mapping[str, Any],
    layer: int,
    prompt_length: int | None = None,
    needs: Need = Need.QUERIES_KEYS,
) -> Prefix:
    """Run a model once, unpruned, on one sample, and keep what :func:`replay` needs.

    Args:
        model: a loaded model of a supported family.
        inputs: the model's inputs for one row without padding; an answer may be appended.
        layer: M, at least 1.
        prompt_length: tokens before the answer; all of them unless given.
        needs: what to read from layer M-1.

    Raises:
        UsageError: ``layer`` or ``prompt_length`` out of range, more than one row, or padding.
        UnsupportedModelError: the architecture cannot be pruned exactly.
        PruningError: the sample has no audio tokens.
    """
    anatomy = families.locate(model)
    anatomy.check_layer(layer)
    ids, row = _read(anatomy, inputs, prompt_length)
    probed = anatomy.attentions[layer - 1]
    found = Capture(probed, needs, [row], len(ids))
    states: list[torch.Tensor] = []
    arguments: list[Mapping[str, Any]] = []

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = Parameters(module).read(args, kwargs)
        states.append(call["hidden_states"])
        arguments.append({name: value for name, value in call.items() if name not in _OWN})

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        states.append(_first(output))

    with ExitStack() as stack:
        stack.enter_context(claimed(anatomy.root))
        stack.enter_context(without_graphs())
        for register, hook in watch(probed, needs, lambda: found):
            stack.callback(register(hook).remove)
        for module in anatomy.layers[layer:]:
            stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
        stack.callback(anatomy.layers[-1].register_forward_hook(leave).remove)
        logits = anatomy.root(**{**inputs, "use_cache": False}).logits
    _check_ending(anatomy, states[-1], logits)

    return Prefix(
        layer=layer,
        hidden_states=states[0][0],
        input_ids=ids,
        prompt_length=len(ids) if prompt_length is None else prompt_length,
        row=row,
        audio=row.audio,
        text=row.text,
        after=row.text > row.audio[-1],
        view=found.view(0, states[0], sample=0),
        arguments=tuple(arguments),
    )


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
        UsageError: no answer, or ``kept`` is not ascending inside the audio tokens.
    """
    answer = len(prefix.answer_ids)
    if not answer:
        raise UsageError("there is no answer to score; capture with prompt_length and the answer")
    _check_kept(kept, len(prefix.audio))
    anatomy = families.locate(model)
    hidden = prefix.hidden_states[None]
    selections = [
        Selection(indices, states=None if states is None else states[index])
        for index, indices in enumerate(kept.to(hidden.device))
    ]
    rows = [prefix.row.keeping(kept.shape[1])] * len(kept)
    real = torch.ones(len(kept), len(prefix.input_ids), dtype=torch.bool)
    compaction = compact(prefix.layer, rows, selections, real, hidden.device)
    forward = Forward(columns=compaction.columns, compaction=compaction)

    hidden = compaction.states(hidden)
    if edit is not None:
        hidden = edit(hidden, compaction.columns.origin)
    for index, given in enumerate(prefix.arguments, prefix.layer):
        names = ("position_embeddings", *anatomy.family.per_token)
        changed = {name: forward.moved(given[name]) for name in names}
        changed["attention_mask"] = forward.mask(anatomy, index, hidden, None)
        output = anatomy.layers[index](hidden, **{**given, **changed})
        hidden = _first(output)
    return anatomy.logits(hidden[:, -answer - 1 : -1])


def answer_nll(logits: torch.Tensor, answer_ids: torch.Tensor) -> torch.Tensor:
    """Return the answer's mean negative log-likelihood [V], nats per token, float32.

    Args:
        logits: [V, n, vocabulary], as :func:`replay` returns them.
        answer_ids: LongTensor [n].
    """
    targets = answer_ids.to(logits.device).expand(logits.shape[:2])
    losses = nn.functional.cross_entropy(logits.float().mT, targets, reduction="none")
    return losses.mean(dim=1)


def _check_ending(anatomy: Anatomy, left: torch.Tensor, logits: torch.Tensor) -> None:
    """Raise unless the last layer's output leads to the model's logits the way replay goes."""
    if left.ndim == 3:
        wanted = logits[:, -1]
        difference = (anatomy.logits(left[:, -1:])[:, 0] - wanted).abs().max()
        if difference <= 0.02 * wanted.abs().max():  # bfloat16 has two digits
            return
    raise UnsupportedModelError(
        f"{anatomy.family.name} does more behind its last layer than a replay of single layers can "
        "follow; prune the whole model instead"
    )


def _first(output: Any) -> torch.Tensor:
    """Return the hidden states among what a decoder layer returns."""
    states: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return states


def _read(
    anatomy: Anatomy, inputs: Mapping[str, Any], prompt_length: int | None
) -> tuple[torch.Tensor, Row]:
    """Return the input ids [L] of the only row, on CPU, and what is what among them."""
    rows, mask = inputs["input_ids"].cpu(), inputs.get("attention_mask")
    if len(rows) != 1 or (mask is not None and not bool(mask.all())):
        raise UsageError(f"{len(rows)} rows, or padding, to capture; it takes one row, unpadded")
    ids: torch.Tensor = rows[0]
    length = len(ids)
    prompt_length = length if prompt_length is None else prompt_length
    if not 1 <= prompt_length <= length:
        raise UsageError(f"prompt_length {prompt_length} is outside [1, {length}]")
    reader = Reader(anatomy.audio_ids, anatomy.marker_ids, "all", 0)
    row = reader.row(ids, torch.ones(length, dtype=torch.bool), prompt_length)
    if not row.kept:
        raise PruningError("the sample has no audio tokens; check the prompt's placeholders")
    return ids, row


def _check_kept(kept: torch.Tensor, total: int) -> None:
    if kept.dtype != torch.long or kept.ndim != 2 or not kept.numel():
        raise UsageError(f"kept is {kept.dtype} {list(kept.shape)}; it must be a LongTensor [V, k]")
    inside = int(kept.min()) >= 0 and int(kept.max()) < total
    if not inside or not bool((kept.diff(dim=1) > 0).all()):
        raise UsageError(f"rows of kept must ascend from 0 to at most {total - 1}, without repeats")
