"""What a forward pass brings: a prompt to prune, the continuation of a pruned one, or neither."""

from __future__ import annotations

from typing import Any, NoReturn

import torch

from headrouter_core.engine.choice.probe import Capture
from headrouter_core.engine.forwards import Forward, Generation, Prefill, alike, told
from headrouter_core.engine.prompt.budget import Budget
from headrouter_core.engine.prompt.reading import Reader
from headrouter_core.engine.prompt.sight import shown_columns
from headrouter_core.engine.shortening.columns import Columns
from headrouter_core.engine.shortening.memory import recall
from headrouter_core.errors import PruningError
from headrouter_core.families.attention import Attention
from headrouter_core.families.base import Anatomy
from headrouter_core.families.contract import check_cache
from headrouter_core.selectors.base import Selector


class Intake:
    """Reads the arguments of a model's forward, and refuses what cannot be pruned exactly."""

    heard = False
    """Whether there was audio, or the continuation of a pruned cache."""
    owing = False
    """Whether there was audio of which a part has to go."""

    def __init__(self, anatomy: Anatomy, selector: Selector, budget: Budget, layer: int) -> None:
        """Set up.

        Args:
            anatomy: the model's.
            selector: the method that chooses.
            budget: how much is kept.
            layer: M, already checked.
        """
        self.anatomy = anatomy
        self.selector = selector
        self.layer = layer
        self._reader = Reader(anatomy.audio_ids, anatomy.marker_ids, selector.text_tokens, budget)

    @property
    def probed(self) -> Attention:
        """The attention of the probe layer."""
        return self.anatomy.attentions[self.layer - 1]

    def take(self, call: dict[str, Any], generation: Generation | None) -> Forward:
        """Find out what kind of forward this is, and read what it brings.

        Raises:
            PruningError: it cannot be read, or not be pruned exactly.
        """
        cache = call.get("cache")
        check_cache(cache)
        memory = recall(cache)
        if memory is not None:
            memory.check_model(self.anatomy.root)
            self._check_place(call, memory.columns)
            before, first = memory.columns, memory.columns.whole
        else:
            before, first = None, 0 if cache is None else int(cache.get_seq_length())
        if generation is not None:
            generation.enter(cache, first)
        own = generation if generation is not None and generation.cache is cache else None
        if first and not self._brings_audio(call, own, first):
            return self._resume(call, before, stepping=generation is not None)
        return Forward(call, self.begin(call, own, before, first))

    def begin(
        self,
        call: dict[str, Any],
        generation: Generation | None = None,
        before: Columns | None = None,
        first: int = 0,
    ) -> Prefill:
        """Read the prompts that a forward brings.

        Args:
            call: the model's arguments by name.
            generation: the ``generate`` that the forward may belong to.
            before: what its cache holds, if that was pruned.
            first: columns that its cache holds.

        Raises:
            PruningError: they cannot be read, or not be pruned exactly.
        """
        ids, prompt = _prompts(call, generation)
        batch, length = ids.shape
        device = _tokens(call).device
        shown = self._shown(call, batch, first, length)
        if shown is not None:
            shown = shown.cpu()
            real = shown[:, first:]
        else:
            real = torch.ones_like(ids, dtype=torch.bool)
        if generation is not None and generation.end is not None:
            self._refuse_chunk(generation, prompt, ids, first)
        if prompt is None or generation is None or generation.ids is None:
            generation = None  # another prompt beside it, as in classifier-free guidance
            prompts, end = batch, length
        else:
            prompts, end = len(generation.ids), prompt.shape[1]
        expand = batch // prompts
        # copied now, while the device has nothing to do that a copy would have to wait for
        rows = [
            self._reader.row(ids[i], real[i], end, (i // expand, prompts)).on(device)
            for i in range(0, batch, expand)
        ]
        said = told(call, end)
        decided = None if generation is None else generation.decided
        if decided is not None and not alike(decided.told, said):
            generation = decided = None  # other audio behind the same ids
        if any(row.pruned for row in rows):
            self.owing = True
            self._refuse_call(call)
        if before is not None:
            before = before.seen(None if shown is None else shown[:, :first])
        capture = None
        if any(row.kept for row in rows):
            self.heard = True
            if decided is None:
                capture = Capture(self.probed, self.selector.needs, rows, length, expand)
        positions = text_positions(call) if call.get("attention_mask") is None else None
        return Prefill(rows, real, first, before, shown, positions, capture, generation, said)

    def _brings_audio(
        self, call: dict[str, Any], generation: Generation | None, first: int
    ) -> bool:
        """Whether there is audio among what comes behind a cache that is not empty."""
        begins = generation is not None and generation.forwards == 1
        # a single token is one that was generated: looking at it would stall every step
        if _tokens(call).shape[1] == 1 and not begins:
            return False
        if generation is not None and generation.end is not None and first >= generation.end:
            return False  # drafts, whatever they look like
        ids, _ = _prompts(call, generation)
        return bool(self._reader.is_audio(ids).any())

    def _resume(self, call: dict[str, Any], before: Columns | None, *, stepping: bool) -> Forward:
        """Take in tokens without audio, behind a cache.

        Args:
            call: the model's arguments by name.
            before: what the cache holds, if it was pruned.
            stepping: ``generate`` runs, so what is behind its first forward is seen by all.
        """
        if before is None:
            return Forward(call)
        rows, count = _tokens(call).shape[:2]
        columns = before.grown(count)
        if not stepping or count > 1:
            columns = columns.seen(self._shown(call, rows, before.whole, count))
        self.heard = True
        return Forward(call, columns=columns)

    def _shown(
        self, call: dict[str, Any], rows: int, first: int, count: int
    ) -> torch.Tensor | None:
        """Return which of all columns the call's mask shows; ``None``: all of them."""
        later = self.anatomy.attentions[self.layer :]
        flash = "flash" in later[0].config._attn_implementation
        windows = {attention.window for attention in later}
        mask = call.get("attention_mask")
        return shown_columns(mask, rows, first, count, windows, flash=flash)

    def _check_place(self, call: dict[str, Any], columns: Columns) -> None:
        """Raise where a cache was pruned at another layer, or has other rows."""
        rows, held = _tokens(call).shape[0], len(columns.origin)
        if (columns.layer, held) != (self.layer, rows):
            raise PruningError(
                f"the cache was pruned at layer {columns.layer} and has {held} rows, but this is "
                f"layer {self.layer} with {rows} rows; start with a new cache"
            )

    def _refuse_chunk(
        self, generation: Generation, prompt: torch.Tensor | None, ids: torch.Tensor, first: int
    ) -> None:
        """Refuse a forward that brings a part of a prompt that ``generate`` was given whole."""
        assert generation.end is not None
        chunk = first > generation.first or first + ids.shape[1] < generation.end
        if chunk and self._reader.is_due(ids if prompt is None else prompt):
            self.owing = True
            have = first + ids.shape[1] - generation.first
            wanted = generation.end - generation.first
            raise PruningError(
                f"a forward ends at token {have} of the prompt's {wanted}, and what to keep cannot "
                "be chosen from a part; generate without prefill_chunk_size"
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
            refuse_packing()
        flash = "flash" in self.anatomy.attentions[0].config._attn_implementation
        if flash and len(_tokens(call)) == 1 and has_gaps(text_positions(call)):
            refuse_packing()
        if reason := self.anatomy.family.obstacle(self.anatomy.root, call, self.layer):
            raise PruningError(f"{self.anatomy.family.name} cannot be pruned here: {reason}")

    def _routes(self, call: dict[str, Any]) -> bool:
        """Whether a mixture of experts is asked for its router's logits."""
        asked = call.get("output_router_logits")
        if asked is None:
            config: Any = self.anatomy.root.config
            asked = getattr(config.get_text_config(), "output_router_logits", False)
        return bool(asked)


def text_positions(call: dict[str, Any]) -> torch.Tensor | None:
    """Return the position ids [B or 1, L] that a model looks for packed prompts in, if it does."""
    positions: torch.Tensor | None = call.get("position_ids")
    if positions is None or positions.ndim == 2:
        return positions
    return positions[0] if len(positions) == 4 else None  # three are of rotary encoding only


def has_gaps(positions: torch.Tensor | None) -> bool:
    """Whether transformers takes a row with such positions for several packed prompts."""
    return positions is not None and bool((positions.diff(dim=-1) != 1).any())


def refuse_packing() -> NoReturn:
    """Refuse prompts that are told apart by positions only."""
    raise PruningError(
        "several prompts packed into one row cannot be told apart; pass one prompt a row (position "
        "ids that do not count up by one mean packing where there is no attention mask)"
    )


def _tokens(call: dict[str, Any]) -> torch.Tensor:
    """Return what stands for a forward's tokens: its embeddings if it has some, else its ids.

    Raises:
        PruningError: it has neither.
    """
    embeds: torch.Tensor | None = call.get("inputs_embeds")
    tokens: torch.Tensor | None = call.get("input_ids") if embeds is None else embeds
    if tokens is None:
        raise PruningError("the model is given neither input_ids nor inputs_embeds; pass input_ids")
    return tokens


def _prompts(
    call: dict[str, Any], generation: Generation | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a forward's input ids [B, L] on CPU, and the prompts of ``generate`` that it begins.

    Raises:
        PruningError: there are only embeddings.
    """
    ids: torch.Tensor | None = call.get("input_ids")
    ids = None if ids is None else ids.cpu()
    rows, count = _tokens(call).shape[:2]
    prompt = None if generation is None else generation.brings(ids, rows, count)
    if ids is None and prompt is not None:
        ids = prompt
    if ids is None:
        raise PruningError(
            "inputs_embeds alone do not say which tokens carry audio; pass audio_mask=, a "
            "BoolTensor [batch, length], or input_ids of the same length beside them"
        )
    return ids, prompt
