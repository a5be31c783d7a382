"""What a forward pass brings: a prompt to prune, the continuation of a pruned one, or neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from headrouter_core.capture import Capture
from headrouter_core.columns import Columns, Lease
from headrouter_core.errors import PruningError
from headrouter_core.families.base import Anatomy
from headrouter_core.forwards import Generation, Prefill
from headrouter_core.masks import real_tokens
from headrouter_core.prompt import Reader
from headrouter_core.selectors.base import Need


@dataclass
class Tally:
    """What a context has seen and done."""

    heard: bool = False
    """Audio, or the continuation of a pruned cache."""
    owing: bool = False
    """Audio of which a part has to go."""
    pruned: bool = False


class Intake:
    """Reads the arguments of a model's forward, and refuses what cannot be pruned exactly."""

    def __init__(
        self, anatomy: Anatomy, needs: Need, reader: Reader, layer: int, lease: Lease
    ) -> None:
        """Set up.

        Args:
            anatomy: the model's.
            needs: what the selector needs of the probe layer.
            reader: how prompts are read.
            layer: M.
            lease: of the context that caches depend on.
        """
        self.tally = Tally()
        self._family = anatomy.family
        self._root = anatomy.root
        self._probed = anatomy.attentions[layer - 1]
        self._needs = needs
        self._reader = reader
        self._layer = layer
        self._lease = lease

    def begin(self, call: dict[str, Any], generation: Generation | None) -> Prefill:
        """Read the prompts of a forward whose cache is empty.

        Raises:
            PruningError: they cannot be read, or not be pruned exactly.
        """
        prepared = generation is not None
        ids = _prompt_ids(call, generation)
        batch, length = ids.shape
        given = call.get("inputs_embeds")
        device = (call["input_ids"] if given is None else given).device
        real = real_tokens(call.get("attention_mask"), 0, length, prepared=prepared)
        real = torch.ones_like(ids, dtype=torch.bool) if real is None else real.cpu()
        if generation is not None and not generation.begins(ids):
            self._refuse_chunk(ids, generation)
            generation = None  # another prompt beside it, as in classifier-free guidance
        prompts, end = (batch, length) if generation is None else generation.shape
        expand = batch // prompts
        # copied now, while the device has nothing to do that a copy would have to wait for
        rows = [
            self._reader.row(ids[i], real[i], end, (i // expand, prompts)).on(device)
            for i in range(0, batch, expand)
        ]
        if any(row.pruned for row in rows):
            self.tally.owing = True
            self._refuse_call(call)
        capture = None
        if any(row.kept for row in rows):
            self.tally.heard = True
            if generation is None or generation.selections is None:
                capture = Capture(self._probed, self._needs, rows, length, expand)
        return Prefill(rows, real, capture, generation, self._layer)

    def resume(self, call: dict[str, Any], columns: Columns, *, prepared: bool) -> None:
        """Take in the tokens that continue a pruned cache.

        Raises:
            PruningError: the cache was pruned at another layer or has other rows, or audio came.
        """
        self.refuse_audio(call)
        ids = call.get("input_ids")
        rows, count = (call["inputs_embeds"] if ids is None else ids).shape[:2]
        held = columns.origin.shape[0]
        if (columns.layer, held) != (self._layer, rows):
            raise PruningError(
                f"the cache was pruned at layer {columns.layer} and has {held} rows, but this is "
                f"layer {self._layer} with {rows} rows; start with a new cache"
            )
        if not columns.lease.fits(self._root):
            raise PruningError(
                f"the cache was pruned on another {type(self._root).__name__} than it is continued "
                "on; start with a new cache"
            )
        first = columns.length + columns.removed
        real = real_tokens(call.get("attention_mask"), first, count, prepared=prepared)
        columns.append(count, real)
        columns.lease = self._lease
        self.tally.heard = True

    def refuse_audio(self, call: dict[str, Any]) -> None:
        """Refuse audio behind a cache that is not empty: its prompt was decided without it.

        Raises:
            PruningError: there is some, of which a part would have to go.
        """
        ids = call.get("input_ids")
        # a single token is one that was generated: looking at it would stall every step
        if ids is not None and ids.shape[1] > 1 and self._reader.is_due(ids):
            self.tally.owing = True
            raise PruningError(
                "audio arrived behind a cache that is not empty; pass the whole conversation at "
                "once, with a new cache and without prefill_chunk_size"
            )

    def _refuse_chunk(self, ids: torch.Tensor, generation: Generation) -> None:
        """Refuse a forward that begins with a part of its prompt."""
        have, length = ids.shape[1], generation.shape[1]
        if have < length and self._reader.is_due(ids):
            self.tally.owing = True
            raise PruningError(
                f"the first forward holds {have} of the prompt's {length} tokens, and what to keep "
                "cannot be chosen from a part; generate without prefill_chunk_size"
            )

    def _refuse_call(self, call: dict[str, Any]) -> None:
        """Refuse outputs by columns of the unpruned prompt, and what the family cannot combine."""
        if isinstance(call.get("logits_to_keep"), torch.Tensor):
            raise PruningError(
                "logits_to_keep as a tensor means columns of the unpruned prompt; pass a number, "
                "which counts from the end"
            )
        if self._routes(call):
            raise PruningError(
                "router logits of a pruned prompt do not fit its mask, and their loss counts all "
                "tokens; run it with output_router_logits=False"
            )
        if call.get("cu_seq_lens_q") is not None:
            raise PruningError(
                "several prompts packed into one row cannot be told apart; pass one prompt a row"
            )
        if reason := self._family.obstacle(self._root, call, self._layer):
            raise PruningError(f"{self._family.name} cannot be pruned here: {reason}")

    def _routes(self, call: dict[str, Any]) -> bool:
        """Whether a mixture of experts is asked for its router's logits."""
        asked = call.get("output_router_logits")
        if asked is None:
            config: Any = self._root.config
            asked = getattr(config.get_text_config(), "output_router_logits", False)
        return bool(asked)


def _prompt_ids(call: dict[str, Any], generation: Generation | None) -> torch.Tensor:
    """Return the input ids of a prefill, LongTensor [B, L] on CPU."""
    ids: torch.Tensor | None = call.get("input_ids")
    embeds = call.get("inputs_embeds")
    if ids is None and embeds is not None and generation is not None:
        ids = generation.expanded(len(embeds))
        if ids is not None and ids.shape[1] != embeds.shape[1]:
            ids = None
    if ids is None:
        raise PruningError(
            "inputs_embeds alone do not say which tokens carry audio; pass audio_mask=, a "
            "BoolTensor [batch, length], or input_ids of the same length beside them"
        )
    return ids.cpu()
