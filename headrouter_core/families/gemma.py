"""Gemma 3n, Gemma 4 and Gemma 4 Unified: inputs a layer, shared keys, capped logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headrouter_core.families.base import Anatomy, Family, has_pictures

if TYPE_CHECKING:
    import torch


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


_WINDOWS = (
    "Sliding windows are measured in the unpruned prompt; flash attention, which cannot, is refused"
    " for prompts that are longer."
)
_SHARED = "The last layers take the keys of earlier ones: prune no later than at those."
_BY_TOKEN = "Its layers look up inputs by token id, so prune_inputs is refused."

FAMILIES: tuple[Family, ...] = (
    Family(
        name="gemma3n",
        model_types=("gemma3n",),
        model_classes=("Gemma3nForConditionalGeneration",),
        tokens_per_second=6.25,
        rate_note="188 tokens an audio whatever its length, of which 6.25 a second are audio and"
        " the rest padding",
        notes=(
            _WINDOWS,
            _SHARED,
            _BY_TOKEN,
            "Calibration is refused: several states a token are merged behind the last layer, which"
            " a replay of layers cannot follow.",
        ),
        per_token=("per_layer_input",),
        obstacle=_obstacle,
    ),
    Family(
        name="gemma4",
        model_types=("gemma4",),
        model_classes=("Gemma4ForConditionalGeneration",),
        tokens_per_second=25,
        notes=(_WINDOWS, _SHARED, _BY_TOKEN),
        per_token=("per_layer_input",),
        finish=_capped,
        obstacle=_obstacle,
    ),
    Family(
        name="gemma4_unified",
        model_types=("gemma4_unified",),
        model_classes=("Gemma4UnifiedForConditionalGeneration",),
        tokens_per_second=25,
        notes=(
            _WINDOWS,
            "generate takes no embeddings: what prune_inputs returns is for its forward.",
        ),
        finish=_capped,
        obstacle=_obstacle,
    ),
)
