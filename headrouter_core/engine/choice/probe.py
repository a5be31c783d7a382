"""Reading the probe layer while it runs: hooks on its projections, and the views made of them.

Nothing is projected twice: what ``q_proj`` and ``k_proj`` put out anyway is gathered at the few
columns that the selector needs, and given up as soon as the row is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from headrouter_core.basics.precision import accumulating, full_precision
from headrouter_core.engine.prompt.reading import Row
from headrouter_core.engine.sessions.session import Hook, Moment, Place
from headrouter_core.errors import PruningError
from headrouter_core.families.attention import Attention, Projection
from headrouter_core.selectors.base import Need, View

_ROTATED = Need.ROTATED_KEYS | Need.LAST_ATTENTION
_FROM_QUERIES = Need.QUERIES_KEYS | Need.LAST_ATTENTION
_AUDIO_KEYS = Need.QUERIES_KEYS | Need.ROTATED_KEYS
_FROM_KEYS = _AUDIO_KEYS | Need.LAST_ATTENTION


class Capture:
    """What one prefill's rows left in the probe layer."""

    def __init__(
        self, attention: Attention, needs: Need, rows: Sequence[Row], length: int, expand: int = 1
    ) -> None:
        """Start to capture.

        Args:
            attention: the probe layer's.
            needs: what to capture.
            rows: one a prompt; prompt i is row ``i * expand`` of the batch.
            length: columns of the batch.
            expand: how many rows of the batch share a prompt (beams, return sequences).
        """
        self._attention = attention
        self._needs = needs
        self._rows = rows
        self._length = length
        self._expand = expand
        self._queries: dict[int, torch.Tensor] = {}
        self._last: dict[int, torch.Tensor] = {}
        self._keys: dict[int, torch.Tensor] = {}
        self._all_keys: dict[int, torch.Tensor] = {}
        self._phases: tuple[torch.Tensor, torch.Tensor] | None = None

    def take_queries(self, output: torch.Tensor) -> None:
        """Gather the rows' text queries (and the last ones) from the projection's output."""
        projection = self._attention.queries
        for index, (row, states) in enumerate(self._read(projection, output)):
            if self._needs & Need.QUERIES_KEYS:
                self._queries[index] = projection.after(_gather(states, row.text))
            if self._needs & Need.LAST_ATTENTION:
                self._last[index] = projection.after(_gather(states, row.prompt[-1:]))

    def take_keys(self, output: torch.Tensor) -> None:
        """Gather the rows' audio keys (and all of the prompt's) from the projection's output."""
        projection = self._attention.keys
        assert projection is not None
        for index, (row, states) in enumerate(self._read(projection, output)):
            if self._needs & _AUDIO_KEYS:
                self._keys[index] = projection.after(_gather(states, row.audio))
            if self._needs & Need.LAST_ATTENTION:
                self._all_keys[index] = projection.after(_gather(states, row.prompt))

    def take_phases(self, phases: tuple[torch.Tensor, torch.Tensor] | None) -> None:
        """Keep the cosines and sines that the probe layer rotates by, if it does."""
        self._phases = phases

    def view(self, index: int, hidden: torch.Tensor, sample: int) -> View:
        """Make the view of row ``index`` and give up what was captured for it.

        Args:
            index: which of the rows.
            hidden: [B, L, D], the input of layer M; of several states a token the first counts.
            sample: number of the row, for methods that draw at random.
        """
        row, needs = self._rows[index], self._needs
        queries, keys = self._queries.pop(index, None), self._keys.pop(index, None)
        last, all_keys = self._last.pop(index, None), self._all_keys.pop(index, None)
        if (needs & _FROM_QUERIES and queries is None and last is None) or (
            needs & _FROM_KEYS and keys is None and all_keys is None
        ):
            raise PruningError(
                "nothing was seen of the probe layer: something (a compiled graph?) calls its "
                "projections without their hooks; prune before compiling"
            )
        rotated = attention = states = None
        if needs & Need.ROTATED_KEYS and keys is not None:
            rotated = self._rotate(index, keys, row.audio)
        if last is not None and all_keys is not None:
            attention = self._last_attention(index, last, all_keys)
        if needs & Need.HIDDEN_STATES:
            hidden = hidden if hidden.ndim == 3 else hidden[0]
            states = hidden[index * self._expand, row.audio.to(hidden.device)]
        return View(
            audio_tokens=row.audio.numel(),
            device=hidden.device,
            sample=sample,
            queries=queries,
            keys=keys if needs & Need.QUERIES_KEYS else None,
            scale=self._attention.scale,
            rotated_keys=rotated,
            last_attention=attention,
            hidden_states=states,
        )

    def _read(
        self, projection: Projection, output: torch.Tensor
    ) -> Iterator[tuple[Row, torch.Tensor]]:
        """Yield each row with its states [L, heads, d]."""
        check_length(output.shape[1], self._length)
        return zip(self._rows, projection.read(output[:: self._expand]), strict=True)

    def _rotate(self, index: int, states: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        if self._phases is None:  # a layer without rotary encoding
            return states
        cos, sin = (_row(phase, index * self._expand) for phase in self._phases)
        columns = columns.to(cos.device)
        cos, sin = (phase[..., columns, :].to(states.device) for phase in (cos, sin))
        return self._attention.rotate(states[None], cos, sin)[0]

    def _last_attention(
        self, index: int, last: torch.Tensor, all_keys: torch.Tensor
    ) -> torch.Tensor:
        """Return the attention [H, N_a] of the row's last prompt token, in float32 or better.

        Its softmax runs over every token of this forward that it sees: an audio-only one would
        scale each head differently and rank tokens in another order.
        """
        row = self._rows[index]
        query = self._rotate(index, last, row.prompt[-1:])[:, 0]
        keys = self._rotate(index, all_keys, row.prompt)
        query, keys = (part.to(accumulating(part.dtype)) for part in (query, keys))
        groups = query.view(keys.shape[0], -1, query.shape[-1])
        with full_precision(keys.device):
            scores = (groups @ keys.mT).flatten(0, 1) * self._attention.scale
        if self._attention.window is not None:
            near = row.prompt > row.prompt[-1] - self._attention.window
            scores = scores.masked_fill(~near.to(scores.device), -torch.inf)
        columns = torch.searchsorted(row.prompt, row.audio)
        return scores.softmax(-1)[:, columns.to(scores.device)]


def watch(
    attention: Attention, needs: Need, current: Callable[[], Capture | None]
) -> dict[Place, Hook]:
    """Return the hooks that a selector's needs ask for.

    ``current`` says where captured tensors go; ``None`` while there is nothing to select.
    """

    def on_attention(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if (capture := current()) is not None:
            capture.take_phases(kwargs["position_embeddings"])

    assert attention.keys is not None
    # a fused projection is both
    takers: dict[nn.Module, list[Callable[[Capture, torch.Tensor], None]]] = {}
    if needs & _FROM_QUERIES:
        takers.setdefault(attention.queries.module, []).append(Capture.take_queries)
    if needs & _FROM_KEYS:
        takers.setdefault(attention.keys.module, []).append(Capture.take_keys)

    def on_projection(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        if (capture := current()) is not None:
            for take in takers[module]:
                take(capture, output)

    hooks: dict[Place, Hook] = {(module, Moment.AFTER): on_projection for module in takers}
    if needs & _ROTATED:
        hooks[attention.module, Moment.BEFORE] = on_attention
    return hooks


def check_length(found: int, expected: int) -> None:
    """Raise unless hidden states are as many as input ids.

    Raises:
        PruningError: they are not, so it is unknown which of them carry audio.
    """
    if found != expected:
        raise PruningError(
            f"there are {expected} input ids but {found} hidden states: the model expands audio "
            "placeholders inside its forward; make the inputs with its current processor, "
            "which writes one placeholder for each audio token"
        )


def _gather(states: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """From [L, heads, d] return [heads, n, d]."""
    return states[columns.to(states.device)].transpose(0, 1)


def _row(phase: torch.Tensor, row: int) -> torch.Tensor:
    """Return row ``row`` of cosines or sines [B or 1, L, _], batch dimension kept."""
    return phase[..., row : row + 1, :, :] if phase.shape[-3] > 1 else phase
