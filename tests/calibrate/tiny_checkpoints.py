"""Tiny random checkpoints of every family, with a real processor beside the weights.

The decoders are those of the core's tests. The encoders shorten audio by the factors of the
released models; where those read windows of 30 seconds, windows here are 2 seconds long.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import tokenizers
import torch
import transformers as tf

from tests.calibrate.tiny_kits import KITS, WINDOW, Kit
from tests.headrouter_core.tiny import builders as tiny_builders
from tests.headrouter_core.tiny import families as tiny_families
from tests.headrouter_core.tiny import parts as tiny_parts
from tests.headrouter_core.tiny.builders import NoVision
from tests.headrouter_core.tiny.models import AUDIO, BEGIN, END, EOS, PAD

TURN, TURN_END = 93, 94
#: Ids that text may have: those of a tiny decoder that stand for nothing else.
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \n.,:;?!'()[]<>|_-"

#: The control tokens that mistral-common cannot do without, in its order.
_TEKKEN = """<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS]
[/TOOL_RESULTS] [TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX]
[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]"""


def make_tokenizer(kit: Kit) -> Any:
    """Return a tokenizer of single characters whose special ids are those of the tiny decoders."""
    vocabulary = {"<pad>": PAD, "<eos>": EOS, "<bos>": 2, "<unk>": 3}
    vocabulary |= {letter: number for number, letter in enumerate(LETTERS, 4)}
    special = {
        kit.audio: AUDIO,
        kit.begin: BEGIN,
        kit.end: END,
        kit.turn: TURN,
        kit.turn_end: TURN_END,
        "<|image|>": 95,
        "<|video|>": 96,
        "<|vision_bos|>": 98,
        "<|vision_eos|>": 99,
    }
    vocabulary |= special
    assert len(set(vocabulary.values())) == len(vocabulary)
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    every = tokenizers.Regex(r"[\s\S]")
    model.pre_tokenizer = tokenizers.pre_tokenizers.Split(every, "isolated")
    model.decoder = tokenizers.decoders.Fuse()
    made = tf.PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        extra_special_tokens={
            "audio_token": kit.audio,
            "audio_bos_token": kit.begin,
            "audio_eos_token": kit.end,
            "boa_token": kit.begin,
            "eoa_token": kit.end,
            "audio_start_token": kit.begin,
            "audio_end_token": kit.end,
            "image_token": "<|image|>",
            "video_token": "<|video|>",
            "vision_bos_token": "<|vision_bos|>",
            "vision_eos_token": "<|vision_eos|>",
            "boi_token": "<|vision_bos|>",
            "eoi_token": "<|vision_eos|>",
        },
        model_max_length=2048,
        padding_side="left",
    )
    made.add_tokens(list(special), special_tokens=True)
    assert {name: made.convert_tokens_to_ids(name) for name in special} == special
    return made


@contextlib.contextmanager
def without_vision() -> Iterator[None]:
    """Let Gemma 3n, whose vision tower is timm's, be built and loaded without it."""
    from transformers.models.gemma3n import modeling_gemma3n

    make = modeling_gemma3n.AutoModel.from_config

    def from_config(part: Any, **kwargs: Any) -> Any:
        vision = type(part).__name__ == "Gemma3nVisionConfig"
        return NoVision() if vision else make(part, **kwargs)

    with mock.patch.object(modeling_gemma3n.AutoModel, "from_config", from_config):
        yield


@contextlib.contextmanager
def changed(kit: Kit) -> Iterator[None]:
    """Let the core's tests build a family with other sections in its configuration."""
    plain = getattr(tf, kit.config)

    def config(**given: Any) -> Any:
        sections = {name: {**given[name], **section} for name, section in kit.changes.items()}
        return plain(**{**given, **sections})

    with mock.patch.object(tf, kit.config, config):
        yield


def make_model(name: str) -> Any:
    """Return a tiny random model of a family."""
    tiny_families.skip_lacking(name)
    torch.manual_seed(0)
    kit = KITS[name]
    wide = {"max_source_positions": 50 * WINDOW}
    with (
        mock.patch.dict(tiny_parts.WHISPER, wide),
        changed(kit) if kit.config else contextlib.nullcontext(),
    ):
        model = tiny_builders.BUILDERS[name]().eval()
    model.generation_config.eos_token_id = [EOS, TURN_END]
    model.generation_config.pad_token_id = PAD
    return model


def save_voxtral(folder: Path) -> Path:
    """Write a checkpoint of Voxtral, whose processor fixes windows and the audio token's id."""
    special = [*_TEKKEN.split(), *(f"[{number}]" for number in range(20, 24))]
    special += ["[AUDIO]", "[BEGIN_AUDIO]", "[TRANSCRIBE]"]
    letters = [bytes([number]) for number in range(256)]
    tekken = {
        "config": {
            "pattern": r"[\s\S]",
            "num_vocab_tokens": len(letters),
            "default_vocab_size": len(special) + len(letters),
            "default_num_special_tokens": len(special),
            "version": "v7",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(letter).decode(), "token_str": None}
            for rank, letter in enumerate(letters)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": token, "is_control": True}
            for rank, token in enumerate(special)
        ],
        "audio": {
            "sampling_rate": 16_000,
            "frame_rate": 12.5,
            "audio_encoding_config": {"num_mel_bins": 8, "hop_length": 160, "window_size": 400},
            "chunk_length_s": 30.0,
        },
    }
    folder.mkdir()
    (folder / "tekken.json").write_text(json.dumps(tekken))
    tf.WhisperFeatureExtractor(feature_size=8).save_pretrained(folder)
    torch.manual_seed(0)
    decoder = {"vocab_size": len(special) + len(letters), "bos_token_id": 1, "eos_token_id": 2}
    # states are merged until they are as wide as the encoder's inner layers: four
    wide = {"max_source_positions": 1500, "encoder_ffn_dim": 128, "intermediate_size": 128}
    encoder = {**tiny_parts.WHISPER, **tiny_parts.ENCODER, **wide}
    config = tf.VoxtralConfig(
        audio_config=encoder,
        text_config=tiny_parts.text("llama", **decoder, pad_token_id=11),
        audio_token_id=special.index("[AUDIO]"),
    )
    tf.VoxtralForConditionalGeneration(config).save_pretrained(folder)
    return folder


def save(name: str, folder: Path) -> Path:
    """Write a checkpoint of a family."""
    if name == "voxtral":
        return save_voxtral(folder)
    kit = KITS[name]
    make_model(name).save_pretrained(folder)
    tokenizer = make_tokenizer(kit)
    settings = {**kit.settings, "chat_template": kit.template}
    if not kit.eyes:
        getattr(tf, kit.processor)(kit.extractor(), tokenizer, **settings).save_pretrained(folder)
        return folder
    tokenizer.save_pretrained(folder)
    kit.extractor().save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(kit.template)
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": kit.processor, **kit.settings})
    )
    return folder
