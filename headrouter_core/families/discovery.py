"""Finding the parts of a loaded model from its structure.

Nothing here reads defaults: heads, head dimension and scale come from the attention module at hand,
token ids from the configuration that the weights came with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrouter_core.errors import UnsupportedModelError
from headrouter_core.families import refusals
from headrouter_core.families.attention import Attention, Projection
from headrouter_core.families.calls import Parameters

if TYPE_CHECKING:
    from torch import nn

#: Names under which configurations keep the ids of begin and end of audio.
_MARKERS = (
    "audio_start_token_id",
    "audio_end_token_id",
    "audio_bos_token_id",
    "audio_eos_token_id",
    "boa_token_id",
    "eoa_token_id",
    "eoa_token_index",
)
_ARGUMENTS = {"hidden_states", "attention_mask", "position_embeddings"}


def find_decoder(root: nn.Module) -> nn.Module:
    """Return the text model: the module with the token embedding, ``layers`` and ``norm``.

    Raises:
        UnsupportedModelError: there is none, or its layers are of a kind that cannot be pruned.
    """
    from torch import nn

    name = type(root).__name__
    if not callable(getattr(root, "generate", None)):
        raise UnsupportedModelError(
            f"{name} has no generate; pass the model that from_pretrained returned"
        )
    embedding = root.get_input_embeddings()  # type: ignore[operator]
    for module in root.modules():
        parts = dict(module.named_children())
        layers = parts.get("layers")
        named = isinstance(layers, nn.ModuleList) and "norm" in parts and "embed_tokens" in parts
        if named and parts["embed_tokens"] is embedding:
            _check(name, module.config, layers)
            return module
    raise UnsupportedModelError(
        f"{name} has no text model with embed_tokens, layers and norm; only decoders of stacked "
        "layers behind a prompt can be pruned"
    )


def _check(name: str, config: Any, layers: Any) -> None:
    if reason := refusals.strange_layers(config):
        raise UnsupportedModelError(f"{name} cannot be pruned: {reason}")
    for layer in layers:
        if missing := sorted(_ARGUMENTS - set(Parameters(layer).names)):
            raise UnsupportedModelError(
                f"{type(layer).__name__} takes no {', '.join(missing)}; its positions and masks "
                "cannot be pruned from outside"
            )


def find_audio_ids(root: nn.Module) -> tuple[int, ...]:
    """Return the ids of the placeholders that audio embeddings replace.

    Raises:
        UnsupportedModelError: the configuration names none.
    """
    if found := refusals.audio_ids(root.config):
        return found
    reason = refusals.no_audio_ids(root.config)
    raise UnsupportedModelError(f"{type(root).__name__} cannot be pruned: {reason}")


def find_marker_ids(root: nn.Module) -> tuple[int, ...]:
    """Return the ids of the tokens that mark begin and end of audio, as far as configured."""
    found = (getattr(root.config, name, None) for name in _MARKERS)
    return tuple(int(token) for token in found if token is not None)


def read_attention(layer: nn.Module) -> Attention:
    """Read a layer whose ``self_attn`` has ``q_proj`` and ``k_proj``, with or without norms.

    Raises:
        UnsupportedModelError: it has not.
    """
    module = getattr(layer, "self_attn", None)
    shared = bool(getattr(module, "is_kv_shared_layer", False))
    query, key = getattr(module, "q_proj", None), getattr(module, "k_proj", None)
    if module is None or query is None or (key is None and not shared):
        raise UnsupportedModelError(
            f"{type(layer).__name__} has no self_attn with q_proj and k_proj; only plain "
            "attention, with grouped queries or without, can be probed"
        )
    head_dim = int(module.head_dim)
    return Attention(
        module=module,
        queries=projection(query, head_dim, getattr(module, "q_norm", query)),
        keys=None if key is None else projection(key, head_dim, getattr(module, "k_norm", key)),
        scale=float(module.scaling),
        window=getattr(module, "sliding_window", None),
    )


def projection(linear: nn.Module, head_dim: int, output: nn.Module | None = None) -> Projection:
    """Return the projection by ``linear``, read at ``output`` if that is another module."""
    heads = int(linear.out_features) // head_dim  # type: ignore[arg-type]
    return Projection(linear if output is None else output, linear, heads, head_dim)
