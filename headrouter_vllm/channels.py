"""Which audio tokens were kept, written behind their embeddings; imports no vLLM.

vLLM hands embeddings from where they are made to where positions are, and nothing beside them. So
the index of a kept token travels as three more values of its embedding, digits in base 256, which
float16 and bfloat16 hold exactly.
"""

from __future__ import annotations

import torch

CHANNELS = 3
BASE = 256
#: Audio tokens that can be numbered: a week at 25 a second.
LIMIT = BASE**CHANNELS


def with_indices(states: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Return [k, D] embeddings with the indices [k] of their tokens behind them: [k, D + 3]."""
    digits = torch.stack([kept // BASE**place % BASE for place in range(CHANNELS)], dim=1)
    return torch.cat([states, digits.to(states)], dim=1)


def split(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the embeddings [k, D] and the indices, LongTensor [k], of :func:`with_indices`."""
    places = torch.tensor([BASE**place for place in range(CHANNELS)], device=states.device)
    digits = states[:, -CHANNELS:].long()
    return states[:, :-CHANNELS], (digits * places).sum(dim=1)


def placed(
    positions: torch.Tensor, audio: torch.Tensor, first: int, kept: torch.Tensor
) -> torch.Tensor:
    """Return positions in which some audio tokens have those of the tokens that they are.

    Audio tokens that touch belong to one audio.

    Args:
        positions: LongTensor [3, P], of the prompt as pruned; those of the text are right.
        audio: BoolTensor [P]: where audio tokens are.
        first: column from which on audio tokens are now embedded.
        kept: LongTensor [n]: which of their audio's tokens the first n audio tokens from there are.
    """
    columns = torch.arange(len(audio), device=audio.device)
    mine = (audio & (columns >= first)).nonzero()[:, 0][: len(kept)]
    # the last column before each audio; what it begins at is one behind all that is before
    before = torch.where(audio, -1, columns).cummax(0).values[mine]
    reached = torch.where(audio, -1, positions.max(dim=0).values).cummax(0).values
    start = torch.where(before >= 0, reached[before.clamp(min=0)] + 1, 0)
    placed = positions.clone()
    placed[:, mine] = start + kept
    return placed
