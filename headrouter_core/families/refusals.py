"""Why an architecture cannot be pruned exactly, as far as its configuration shows."""

from __future__ import annotations

from typing import Any

_LAYER_TYPES = {"full_attention", "sliding_attention"}


def objection(config: Any) -> str | None:
    """Return why no model of this configuration can be pruned; ``None`` if nothing shows."""
    if getattr(config, "is_encoder_decoder", False):
        return (
            "it is an encoder-decoder, which reads audio by cross-attention and has no audio tokens"
            " in its prompt"
        )
    text = config.get_text_config(decoder=True)
    if "kv_lora_rank" in text.to_dict():
        return (
            "its layers keep a latent in the place of keys (multi-head latent attention), and only"
            " plain attention, with grouped queries or without, can be probed"
        )
    return strange_layers(text) or (None if audio_ids(config) else no_audio_ids(config))


def strange_layers(config: Any) -> str | None:
    """Return what is wrong with the types of layers that a decoder's configuration names."""
    types = set(getattr(config, "layer_types", None) or _LAYER_TYPES)
    if not types - _LAYER_TYPES:
        return None
    return (
        f"it has layers of type {', '.join(sorted(types - _LAYER_TYPES))}: leaving tokens out"
        " changes a recurrent, convolved or chunked state, so no pruned model could equal a masked"
        " one"
    )


def audio_ids(config: Any) -> tuple[int, ...]:
    """Return the ids of the placeholders that audio embeddings replace, if any are named."""
    for holder in (config, getattr(config, "audio_config", None)):
        token = getattr(holder, "audio_token_id", None)
        if token is not None:
            return (int(token),)
    return ()


def no_audio_ids(config: Any) -> str:
    """Return what it means that a configuration names no placeholder."""
    return (
        f"its {type(config).__name__} names no audio_token_id; a model that adds audio to text"
        " tokens, or reads it by cross-attention, has no audio tokens to prune"
    )
