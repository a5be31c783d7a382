"""Gemma 3n, Gemma 4 and Gemma 4 Unified: inputs a layer, shared keys, capped logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from headrouter_core.families.base import Anatomy, Family, has_pictures


def _obstacle(root: Any, call: Mapping[str, Any], layer: int) -> str | None:
    """Pictures see themselves both ways, which masks made anew for kept tokens do not say."""
    direction = getattr(root.config.get_text_config(), "use_bidirectional_attention", None)
    if direction == "all" or (direction == "vision" and has_pictures(call)):
        return "tokens of pictures attend in both directions; leave pictures out"
    return None


def _capped(anatomy: Anatomy, hidden: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = anatomy.embedding(anatomy.norm(hidden))
    config: Any = anatomy.root.config
    cap = config.get_text_config().final_logit_softcapping
    return logits if cap is None else (logits / cap).tanh() * cap


FAMILIES: tuple[Family, ...] = (
    Family(
        name="gemma3n",
        model_types=("gemma3n",),
        tokens_per_second=6.27,
        per_token=("per_layer_input",),
        obstacle=_obstacle,
    ),
    *(
        Family(
            name=name,
            model_types=(name,),
            tokens_per_second=25,
            per_token=per_token,
            finish=_capped,
            obstacle=_obstacle,
        )
        for name, per_token in (("gemma4", ("per_layer_input",)), ("gemma4_unified", ()))
    ),
)
