"""Kept tokens as time: spans in seconds, and a bar that shows where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:-=+*%#"
#: Distances between the marks of an axis: the smallest that leaves room for their labels.
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
_LABEL = 8


def times(
    kept: Iterable[int], seconds_per_token: float, seconds: float
) -> list[tuple[float, float]]:
    """Return begin and end of each kept token, in seconds; none ends behind the audio."""
    return [
        (min(token * seconds_per_token, seconds), min((token + 1) * seconds_per_token, seconds))
        for token in kept
    ]


def spans(
    kept: Sequence[int], seconds_per_token: float, seconds: float
) -> list[tuple[float, float]]:
    """Return begin and end of each run of neighbouring kept tokens, in seconds."""
    edges = zip([None, *kept], [*kept, None], strict=True)
    breaks = [(left, right) for left, right in edges if left is None or right != left + 1]
    begins = [right for _, right in breaks if right is not None]
    ends = [left for left, _ in breaks if left is not None]
    return [
        (min(begin * seconds_per_token, seconds), min((end + 1) * seconds_per_token, seconds))
        for begin, end in zip(begins, ends, strict=True)
    ]


def bar(kept: Iterable[int], tokens: int, width: int, encoding: str = "utf-8") -> str:
    """Draw which of ``tokens`` are kept, as high as their share in each of ``width`` cells.

    There are fewer cells where there are fewer tokens. What is kept at all is never drawn as empty,
    what is not kept whole never as full.
    """
    cells = min(width, tokens)
    have, held = [0] * cells, [0] * cells
    chosen = set(kept)
    for token in range(tokens):
        cell = token * cells // tokens
        have[cell] += 1
        held[cell] += token in chosen
    levels = _levels(encoding)
    top = len(levels) - 1
    drawn = []
    for share, whole in zip(held, have, strict=True):
        level = top if share == whole else min(max(round(share / whole * top), 1), top - 1)
        drawn.append(levels[level if share else 0])
    return "".join(drawn)


def axis(seconds: float, cells: int) -> str:
    """Draw marks and their times under a bar of so many cells."""
    step = next((step for step in _STEPS if step / seconds * cells >= _LABEL), seconds)
    line = ""
    for count in range(int(seconds / step) + 1):
        mark = f"|{count * step:g}s"
        column = int(count * step / seconds * cells)
        if column >= len(line) and column + len(mark) <= cells:
            line = line.ljust(column) + mark
    return line


def _levels(encoding: str) -> str:
    try:
        _BLOCKS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return _ASCII
    return _BLOCKS


def marks(seconds: float, most: int = 12) -> list[float]:
    """Return the times of at most so many marks along a recording, even and in round numbers."""
    step = next((step for step in _STEPS if seconds / step < most), seconds)
    return [count * step for count in range(int(seconds / step) + 1)]
