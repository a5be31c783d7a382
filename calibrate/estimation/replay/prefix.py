"""What is known of a sample on entry to the pruning layer, so that it need not be run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from calibrate.models.finite import check_usable
from headrouter_core import families
from headrouter_core.basics.arguments import shown, whole
from headrouter_core.engine.choice.probe import Capture, watch
from headrouter_core.engine.prompt.budget import Budget
from headrouter_core.engine.prompt.reading import Reader, Row
from headrouter_core.engine.sessions.gates import hooked
from headrouter_core.engine.sessions.session import Hook, Moment, Place
from headrouter_core.errors import PruningError, UnsupportedModelError, UsageError
from headrouter_core.families.base import Anatomy
from headrouter_core.families.calls import Parameters, with_cache
from headrouter_core.selectors.base import Need, View

#: Arguments that :mod:`calibrate.estimation.replay.layers` makes anew for each layer.
_OWN = ("hidden_states", "attention_mask", "position_ids", "cache", "use_cache")


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
    early: tuple[tuple[torch.Tensor, torch.Tensor], ...] | None
    """Keys and values [1, H_kv, L, d] of layers 0..M-1, if they were to be kept."""

    @property
    def answer_ids(self) -> torch.Tensor:
        """LongTensor [n]: the answer's tokens."""
        return self.input_ids[self.prompt_length :]

    def seen_by(self, text_tokens: str, sample: int = 0) -> View:
        """Return the view of a selector that probes ``all`` text tokens, ``after`` or ``last``."""
        queries = self.view.queries
        if queries is not None and text_tokens == "after":
            queries = queries[:, self.after.to(queries.device)]
        if queries is not None and text_tokens == "last":
            queries = queries[:, -1:]
        return replace(self.view, queries=queries, sample=sample)


@torch.no_grad()
def capture(
    model: nn.Module,
    inputs: Mapping[str, Any],
    layer: int,
    prompt_length: int | None = None,
    needs: Need = Need.QUERIES_KEYS,
    cached: bool = False,
) -> Prefix:
    """Run a model once, unpruned, on one sample, and keep what :func:`replay` needs.

    Args:
        model: a loaded model of a supported family.
        inputs: the model's inputs for one row without padding; an answer may be appended.
        layer: M, at least 1.
        prompt_length: tokens before the answer; all of them unless given.
        needs: what to read from layer M-1.
        cached: keep what :func:`replay_cache` needs.

    Raises:
        UsageError: ``layer`` or ``prompt_length`` out of range, no input ids, more than one row, or
            padding; or this thread or task is pruning the model.
        UnsupportedModelError: the architecture cannot be pruned exactly.
        NonFiniteError: the logits are NaN or infinite; it says where that began.
        PruningError: the sample has no audio tokens.
    """
    anatomy = families.locate(model)
    anatomy.check_layer(layer)
    if not isinstance(needs, Need):
        raise UsageError(f"needs is {shown(needs)}; it must be a Need")
    ids, row = _read(anatomy, inputs, prompt_length)
    probed = anatomy.attentions[layer - 1]
    found = Capture(probed, needs, [row], len(ids))
    states: list[torch.Tensor] = []
    arguments: list[Mapping[str, Any]] = []
    cache = DynamicCache() if cached else None
    given = with_cache(type(anatomy.root).forward, cache)

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = Parameters(module).read(args, kwargs)
        states.append(call["hidden_states"])
        arguments.append({name: value for name, value in call.items() if name not in _OWN})

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        states.append(first_output(output))

    hooks: dict[Place, Hook] = {
        **watch(probed, needs, lambda: found),
        **{(module, Moment.BEFORE): enter for module in anatomy.layers[layer:]},
        (anatomy.layers[-1], Moment.AFTER): leave,
    }
    with hooked(anatomy.root, hooks):
        logits = anatomy.root(**inputs, **given, use_cache=cached).logits
    _check_ending(anatomy, states[-1], logits, inputs)

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
        early=None if cache is None else tuple(_parts(cache, index) for index in range(layer)),
    )


def _check_ending(
    anatomy: Anatomy, left: torch.Tensor, logits: torch.Tensor, inputs: Mapping[str, Any]
) -> None:
    """Raise unless the last layer's output leads to the model's logits the way replay goes."""
    if left.ndim == 3:
        wanted = logits[:, -1]
        check_usable(anatomy.root, wanted, inputs)
        possible = wanted.isfinite()  # some models rule tokens out by minus infinity
        difference = (anatomy.logits(left[:, -1:])[:, 0] - wanted)[possible].abs().max()
        if difference <= 0.02 * wanted[possible].abs().max():  # bfloat16 has two digits
            return
    raise UnsupportedModelError(
        f"{anatomy.family.name} does more behind its last layer than a replay of single layers can "
        "follow; prune the whole model instead"
    )


def _parts(cache: DynamicCache, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the keys and values that a cache holds of a layer."""
    layer: Any = cache.layers[index]
    return layer.keys, layer.values


def _read(
    anatomy: Anatomy, inputs: Mapping[str, Any], prompt_length: int | None
) -> tuple[torch.Tensor, Row]:
    """Return the input ids [L] of the only row, on CPU, and what is what among them."""
    given = inputs.get("input_ids") if isinstance(inputs, Mapping) else None
    if not isinstance(given, torch.Tensor) or given.ndim != 2:
        what = f"input_ids that are {shown(given)}" if given is not None else "no input_ids"
        raise UsageError(f"inputs have {what}; pass what the processor returned, with ids [1, L]")
    rows, mask = given.cpu(), inputs.get("attention_mask")
    if len(rows) != 1 or (mask is not None and not bool(mask.all())):
        raise UsageError(f"{len(rows)} rows, or padding, to capture; it takes one row, unpadded")
    ids: torch.Tensor = rows[0]
    length = len(ids)
    prompt_length = length if prompt_length is None else whole("prompt_length", prompt_length)
    if not 1 <= prompt_length <= length:
        raise UsageError(f"prompt_length {prompt_length} is outside [1, {length}]")
    reader = Reader(anatomy.audio_ids, anatomy.marker_ids, "all", Budget(0))
    real = torch.ones(length, dtype=torch.bool, device="cpu")
    row = reader.row(ids, real, prompt_length)
    if not row.kept:
        raise PruningError("the sample has no audio tokens; check the prompt's placeholders")
    return ids, row


def first_output(output: Any) -> torch.Tensor:
    """Return the hidden states among what a decoder layer returns."""
    states: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return states
