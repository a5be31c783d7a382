"""When words sound, found without labels: a model's own attention, in the order of its answer.

As Whisper's word times are found (``whisper/timing.py``: cross-attention, standardised over the
tokens, mean over heads, then dynamic programming), but with silence between the words: each gets
one stretch of the audio, in their order, where it looks more than half as much as at its best.
How near that comes to known times is in ``docs/eviction.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def consensus(layers: Sequence[torch.Tensor], heads: torch.Tensor) -> torch.Tensor:
    """Return how much more each word looks at each audio token than words do on average [W, N].

    Args:
        layers: one a layer: attention [KV heads, query heads of one, W, N] from the words' first
            tokens to the audio.
        heads: [layers, KV heads], not negative: how much each KV head has to say.
    """
    total = torch.zeros_like(layers[0][0, 0], dtype=torch.float64)
    for given, shares in zip(layers, heads, strict=True):
        rows = given.double() / given.double().sum(-1, keepdim=True).clamp(min=1e-12)
        apart = (rows - rows.mean(2, keepdim=True)) / rows.std(2, keepdim=True).clamp(min=1e-12)
        total += (apart.mean(1) * shares[:, None, None].to(apart)).sum(0)
    found: torch.Tensor = total / heads.sum().clamp(min=1e-12)
    return found


def stretches(scores: torch.Tensor) -> list[tuple[int, int]]:
    """Return first and last token of each word's stretch: in order, apart, with the largest sum.

    Of what each word's tokens have more than half of its best.

    Args:
        scores: [W, N] with W <= N.
    """
    scores = scores - scores.amax(-1, keepdim=True) / 2
    words, tokens = scores.shape
    # states by turns: silence, the first word, silence, ..., the last word, silence
    gains = torch.zeros(2 * words + 1, tokens, dtype=torch.float64)
    gains[1::2] = scores
    best = torch.full((2 * words + 1,), -torch.inf, dtype=torch.float64)
    best[:2] = gains[:2, 0]
    came = torch.zeros(tokens, 2 * words + 1, dtype=torch.long)
    spoken = torch.arange(2 * words + 1) % 2 == 1
    for token in range(1, tokens):
        from_last = best.roll(1).index_fill(0, torch.tensor([0]), -torch.inf)
        # from word to word without silence
        skip = best.roll(2).index_fill(0, torch.tensor([0, 1]), -torch.inf)
        skip = skip.masked_fill(~spoken, -torch.inf)
        best, came[token] = torch.stack([best, from_last, skip]).max(0)
        best = best + gains[:, token]
    state = 2 * words if best[-1] >= best[-2] else 2 * words - 1
    states = [state]
    for token in range(tokens - 1, 0, -1):
        state -= int(came[token, state])
        states.append(state)
    path = torch.tensor(states[::-1])
    found = [(path == 2 * word + 1).nonzero()[:, 0] for word in range(words)]
    return [(int(place[0]), int(place[-1])) for place in found]
