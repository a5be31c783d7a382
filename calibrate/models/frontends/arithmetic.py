"""How many audio tokens come of how many feature frames, where families agree."""

from __future__ import annotations


def pooled_tokens(frames: int) -> int:
    """A convolution of stride 2, then a pooling of stride 2 that leaves a rest out."""
    return (((frames - 1) // 2 + 1) - 2) // 2 + 1


def merged_tokens(frames: int) -> int:
    """A convolution of stride 2, then 4 neighbours merged; a rest is left out."""
    return (((frames - 1) // 2 + 1) - 4) // 4 + 1


def chunked_tokens(frames: int) -> int:
    """Three convolutions of stride 2 in each chunk of 100 frames, which makes 13, or of the rest.

    The chunk is the ``n_window`` of 50 that all released models have.
    """
    chunks, rest = divmod(frames, 100)
    return 13 * chunks + -(-rest // 8)
