"""What tests of models have in common whose tokens vLLM numbers 0, 1, 2, ...

Of what is kept the reference is ``prune_inputs``; its positions are left out, so that transformers
numbers the tokens as vLLM does.
"""

from __future__ import annotations

from typing import Any

import torch

from . import plain
from .conftest import make_engine
from .sides import Sides


def both(name: str, model_class: Any, folder: Any, lone: str, audios: int) -> Sides:
    """Return a family in both engines."""
    from transformers import AutoProcessor

    plain.write(name, folder)
    reference = model_class.from_pretrained(folder, dtype=torch.float32).eval()
    engine = make_engine(
        folder,
        {"positions": "renumbered"},
        limit_mm_per_prompt={"audio": audios},
    )
    processor = AutoProcessor.from_pretrained(folder)
    return Sides(engine, reference, processor, renumbered=True, lone=lone)
