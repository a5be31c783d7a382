"""What is measured: sections, and shapes as configurations written out; no weights, no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Section -> its keys in the JSON.
SECTIONS = {
    "prefill": ("prefill",),
    "selectors": ("selectors",),
    "logits": ("logits",),
    "answers": ("decode", "end_to_end"),
}
#: Audio tokens a second of audio: the encoder's, whatever the shape.
TOKENS_PER_SECOND = 25
#: The longest audio that Qwen2.5-Omni's processor makes features of.
FRONT_END_SECONDS = 300


@dataclass(frozen=True)
class Shape:
    """A Qwen2.5-Omni thinker in numbers."""

    name: str
    source: str
    """Where the numbers come from."""
    dtype: str
    audio: Mapping[str, Any]
    vision: Mapping[str, Any]
    text: Mapping[str, Any]
    tokens: Mapping[str, int]
    """Ids of the tokens that the thinker has to know."""
    cut_from: int | None = None
    """Decoder layers of the model that these are the first ones of."""

    @property
    def layers(self) -> int:
        """D, the number of decoder layers."""
        return int(self.text["num_hidden_layers"])

    @property
    def share(self) -> float:
        """What these layers take of the time of all of the model's."""
        return self.layers / (self.cut_from or self.layers)


#: Ids of Qwen2.5-Omni's tokenizer.
_TOKENS = {
    "audio_token_index": 151646,
    "audio_start_token_id": 151647,
    "audio_end_token_id": 151648,
    "image_token_index": 151655,
    "video_token_index": 151656,
    "user_token_id": 872,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
}
_SMALL_TOKENS = {
    "audio_token_index": 1,
    "audio_start_token_id": 2,
    "audio_end_token_id": 3,
    "image_token_index": 4,
    "video_token_index": 5,
    "user_token_id": 6,
    "vision_start_token_id": 7,
    "vision_end_token_id": 8,
}
_AUDIO = {
    "num_mel_bins": 128,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "d_model": 1280,
    "n_window": 100,
    "max_source_positions": 1500,
}
#: Never run here, but a part of what a loaded model occupies.
_VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
#: The class insists on a vision tower; where no checkpoint has one, it is as small as it can be.
_NO_VISION = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_heads": 2,
    "patch_size": 4,
    "fullatt_block_indexes": [0],
}


def _text(
    *,
    width: int,
    inner: int,
    layers: int,
    heads: int,
    kv_heads: int,
    vocabulary: int,
    sections: tuple[int, int, int] = (16, 24, 24),
) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 32768,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1000000.0,
            "mrope_section": list(sections),
        },
        "tie_word_embeddings": False,
    }


def _small(name: str, source: str, encoder: Mapping[str, int], text: dict[str, Any]) -> Shape:
    width = text["hidden_size"]
    audio = {**_AUDIO, **encoder, "output_dim": width}
    vision = {**_NO_VISION, "out_hidden_size": width}
    return Shape(name, source, "float32", audio, vision, text, _SMALL_TOKENS)


def _released(size: str, text: dict[str, Any]) -> Shape:
    width = text["hidden_size"]
    return Shape(
        name=f"qwen2.5-omni-{size.lower()}",
        source=f"Qwen/Qwen2.5-Omni-{size}, config.json, thinker_config",
        dtype="bfloat16",
        audio={**_AUDIO, "output_dim": width},
        vision={**_VISION, "out_hidden_size": width},
        text=text,
        tokens=_TOKENS,
    )


def _cut(whole: Shape) -> Shape:
    """Return a model's first three decoder layers alone, which a CPU can run: two before pruning,
    whose output is what selectors see, and one behind it."""
    text = {**whole.text, "num_hidden_layers": 3, "vocab_size": 8192}
    source = f"{whole.source}: the first 3 of {whole.layers} decoder layers, a small vocabulary"
    made = _small(f"{whole.name}-cut", source, _SMALL_ENCODER, text)
    return dataclasses.replace(made, cut_from=whole.layers)


_SMALL_ENCODER = {
    "encoder_layers": 4,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 512,
    "d_model": 128,
}
_3B = _released(
    "3B", _text(width=2048, inner=11008, layers=36, heads=16, kv_heads=2, vocabulary=151936)
)
_7B = _released(
    "7B", _text(width=3584, inner=18944, layers=28, heads=28, kv_heads=4, vocabulary=152064)
)
SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        _3B,
        _7B,
        _cut(_3B),
        _cut(_7B),
        _small(
            "stand-in",
            "made up: 600 s of audio run in seconds on two CPU cores; attention is most of its"
            " work, as it is not in the real shapes",
            _SMALL_ENCODER,
            _text(
                width=96,
                inner=512,
                layers=6,
                heads=3,
                kv_heads=1,
                vocabulary=8192,
                sections=(4, 6, 6),
            ),
        ),
        _small(
            "tiny",
            "made up: for tests of the benchmark itself, its numbers mean nothing",
            {
                "encoder_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                "d_model": 32,
            },
            _text(
                width=64,
                inner=256,
                layers=4,
                heads=4,
                kv_heads=2,
                vocabulary=512,
                sections=(2, 3, 3),
            ),
        ),
    )
}
