"""Audio beside pictures and videos in one prompt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from .sides import Sides

#: Which stand where, in prompts: audio, image, video. Seconds of each audio, of which none comes
#: twice: vLLM would not embed it again, and what is kept of it would not be seen.
PARTS = {"IA": [4.0], "AV": [3.5], "AIVA": [3.1, 2.1]}


def differ(
    sides: Sides, parts: str, written: Callable[[str], str], tokens: dict[str, str], ratio: float
) -> float:
    """Return how much log-probabilities differ, having compared tokens and what is kept."""
    noise = np.random.default_rng(0)
    image = Image.fromarray(noise.integers(0, 255, (100, 70, 3), dtype=np.uint8))
    video = noise.integers(0, 255, (4, 64, 80, 3), dtype=np.uint8)
    more, given = {}, {}
    if "I" in parts:
        more["image"], given["images"] = [image], [image]
    if "V" in parts:
        more["video"], given["videos"] = [video], [video]
    text = written("".join(map(tokens.get, parts)))
    return sides.differ_masked(text, PARTS[parts], more, given, ratio)
