"""Tiny random checkpoints of every family, with a real processor beside the weights.

The decoders are those of the core's tests. The encoders shorten audio by the factors of the
released models; where those read windows of 30 seconds, windows here are 2 seconds long.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import tokenizers
import torch
import transformers as tf

from tests.headrouter_core import tiny_families
from tests.headrouter_core.tiny_families import _NoVision
from tests.headrouter_core.tiny_models import AUDIO, BEGIN, END, EOS, PAD

TURN, TURN_END = 93, 94
#: Ids that text may have: those of a tiny decoder that stand for nothing else.
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \n.,:;?!'()[]<>|_-"
WINDOW = 2


def chat(
    audio: str, turn: str = "<|im_start|>", end: str = "<|im_end|>", role: str = "{r}\n"
) -> str:
    """Return a chat template in the manner of ChatML."""
    name = "message['role']"
    opened = turn + role.replace("{r}", "{{ " + name + " }}")
    answer = turn + role.replace("{r}", "assistant")
    return (
        "{% for message in messages %}" + opened + "{% if message['content'] is string %}"
        "{{ message['content'] }}{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'audio' %}" + audio + "{% elif part['type'] == 'text' %}"
        "{{ part['text'] | trim }}{% endif %}{% endfor %}{% endif %}" + end + "\n{% endfor %}"
        "{% if add_generation_prompt %}" + answer + "{% endif %}"
    )


@dataclass(frozen=True)
class Kit:
    """What a checkpoint of one family is made of."""

    processor: str
    extractor: Callable[[], Any]
    template: str
    audio: str
    """The audio token; the others are the markers."""
    begin: str = "<|begin|>"
    end: str = "<|end_of_audio|>"
    turn: str = "<|im_start|>"
    turn_end: str = "<|im_end|>"
    settings: dict[str, Any] = field(default_factory=dict)
    eyes: bool = False
    """Whether the processor insists on parts that need torchvision."""
    config: str = ""
    """The class of the configuration, where it differs from the core's tests by ``changes``."""
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)


def whisper() -> Any:
    return tf.WhisperFeatureExtractor(
        feature_size=8, chunk_length=WINDOW, return_attention_mask=True
    )


_ASR = (
    "<|im_start|>system\n{% for message in messages %}{% if message['role'] == 'system' %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}{% endfor %}"
    "<|im_end|>\n<|im_start|>user\n<|begin|><|pad|><|end_of_audio|><|im_end|>\n"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_EXTRA = (
    "<|im_start|>system\n{{ system_prompt | default('Transcribe.') }}<|im_end|>\n"
    "{% for message in messages %}{% if message['role'] == 'user' %}<|im_start|>user\n"
    "{% for part in message['content'] %}{% if part['type'] == 'audio' %}"
    "<|begin|><|pad|><|end_of_audio|>\n{% endif %}{% endfor %}"
    "This is a <|AUDIO_DURATION|> seconds audio, with extra info: "
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
)
_CONTEXT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}\n"
    "{% endif %}{% endfor %}{% for part in message['content'] %}{% if part['type'] == 'audio' %}"
    "<|pad|>{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CHAT = chat("<|begin|><|pad|><|end_of_audio|>")
#: The control tokens that mistral-common cannot do without, in its order.
_TEKKEN = """<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS]
[/TOOL_RESULTS] [TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX]
[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]"""
#: What the released model's two encoders do: one state for each 3,200 samples.
_SPEECH = {
    "hidden_size": 16,
    "num_filters": 2,
    "depths": [1] * 7,
    "downsampling_ratios": [2, 2, 4, 5, 5, 8],
}
_GEMMA = {"turn": "<start_of_turn>", "turn_end": "<end_of_turn>"}
_GEMMA4 = {"turn": "<|turn>", "turn_end": "<turn|>"}


def _gemma(tokens: dict[str, str]) -> str:
    return "<bos>" + chat("<|pad|>", tokens["turn"], tokens["turn_end"])


KITS: dict[str, Kit] = {
    "qwen2_audio": Kit("Qwen2AudioProcessor", whisper, _CHAT, "<|pad|>"),
    "audioflamingo3": Kit(
        "AudioFlamingo3Processor",
        whisper,
        chat("<|pad|>"),
        "<|pad|>",
        settings={"audio_token": "<|pad|>", "max_audio_len": 7},
    ),
    "musicflamingo": Kit(
        "MusicFlamingoProcessor",
        whisper,
        chat("<|pad|>"),
        "<|pad|>",
        settings={
            "audio_token": "<|pad|>",
            "audio_bos_token": "<|begin|>",
            "audio_eos_token": "<|end_of_audio|>",
            "max_audio_len": 7,
        },
    ),
    "glmasr": Kit(
        "GlmAsrProcessor",
        whisper,
        chat("<|begin|><|pad|><|end_of_audio|>", "<|user|>", "", "\n"),
        "<|pad|>",
        settings={"audio_token": "<|pad|>", "max_audio_len": 7},
    ),
    "granite_speech": Kit(
        "GraniteSpeechProcessor",
        lambda: tf.GraniteSpeechFeatureExtractor(),
        chat("<|pad|>"),
        "<|pad|>",
        config="GraniteSpeechConfig",
        changes={"encoder_config": {"input_dim": 160}},
    ),
    "granite_speech_plus": Kit(
        "GraniteSpeechProcessor",
        lambda: tf.GraniteSpeechFeatureExtractor(),
        chat("<|pad|>"),
        "<|pad|>",
        config="GraniteSpeechPlusConfig",
        changes={"encoder_config": {"input_dim": 160}},
    ),
    "vibevoice_asr": Kit(
        "VibeVoiceAsrProcessor",
        tf.VibeVoiceAcousticTokenizerFeatureExtractor,
        _EXTRA,
        "<|pad|>",
        settings={
            "audio_token": "<|pad|>",
            "audio_bos_token": "<|begin|>",
            "audio_eos_token": "<|end_of_audio|>",
        },
        config="VibeVoiceAsrConfig",
        changes={
            "acoustic_tokenizer_encoder_config": _SPEECH,
            "semantic_tokenizer_encoder_config": _SPEECH,
        },
    ),
    "qwen3_asr": Kit(
        "Qwen3ASRProcessor", lambda: tf.Qwen3ASRFeatureExtractor(feature_size=8), _ASR, "<|pad|>"
    ),
    "fun_asr_nano": Kit(
        "FunAsrNanoProcessor",
        lambda: tf.FunAsrNanoFeatureExtractor(feature_size=8),
        _CONTEXT,
        "<|pad|>",
        settings={"audio_token": "<|pad|>"},
    ),
    "moss_transcribe_diarize": Kit(
        "MossTranscribeDiarizeProcessor",
        lambda: tf.MossTranscribeDiarizeFeatureExtractor(
            feature_size=8, chunk_length=WINDOW, return_attention_mask=True
        ),
        _CHAT,
        "<|pad|>",
        settings={
            "audio_token": "<|pad|>",
            "audio_bos_token": "<|begin|>",
            "audio_eos_token": "<|end_of_audio|>",
        },
    ),
    "phi4_multimodal": Kit(
        "Phi4MultimodalProcessor",
        lambda: tf.Phi4MultimodalFeatureExtractor(feature_size=8),
        chat("<|pad|>", "<|user|>", "<|end|>", ""),
        "<|pad|>",
        turn="<|user|>",
        turn_end="<|end|>",
        eyes=True,
    ),
    "qwen3_omni_moe": Kit("Qwen3OmniMoeProcessor", whisper, _CHAT, "<|pad|>", eyes=True),
    "gemma3n": Kit(
        "Gemma3nProcessor",
        lambda: tf.Gemma3nAudioFeatureExtractor(feature_size=8),
        _gemma(_GEMMA),
        "<|pad|>",
        **_GEMMA,
        eyes=True,
    ),
    "gemma4": Kit(
        "Gemma4Processor",
        lambda: tf.Gemma4AudioFeatureExtractor(),
        _gemma(_GEMMA4),
        "<|pad|>",
        **_GEMMA4,
        eyes=True,
    ),
    "gemma4_unified": Kit(
        "Gemma4UnifiedProcessor",
        lambda: tf.Gemma4UnifiedAudioFeatureExtractor(),
        _gemma(_GEMMA4),
        "<|pad|>",
        **_GEMMA4,
        eyes=True,
        config="Gemma4UnifiedConfig",
        changes={"audio_config": {"audio_embed_dim": 640}},
    ),
    "muse_spark": Kit(
        "MuseSparkProcessor",
        lambda: tf.MuseSparkFeatureExtractor(),
        chat("<|pad|>"),
        "<|pad|>",
        eyes=True,
        config="MuseSparkConfig",
        changes={
            "audio_config": {
                "patch_sizes": [16, 6, 5, 4],
                "hidden_sizes": [4, 8, 8, 16],
                "depths": [1] * 4,
                "num_hidden_layers": 4,
                "out_hidden_size": 64,
            }
        },
    ),
}


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
        return _NoVision() if vision else make(part, **kwargs)

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
        mock.patch.dict(tiny_families.WHISPER, wide),
        changed(kit) if kit.config else contextlib.nullcontext(),
    ):
        model = tiny_families.BUILDERS[name]().eval()
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
    encoder = {**tiny_families.WHISPER, **tiny_families.ENCODER, **wide}
    config = tf.VoxtralConfig(
        audio_config=encoder,
        text_config=tiny_families.text("llama", **decoder, pad_token_id=11),
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
