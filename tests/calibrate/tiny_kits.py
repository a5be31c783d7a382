"""What tiny checkpoints are made of, family by family: processor, chat template, settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import transformers as tf

#: Seconds of the windows that encoders of 30 seconds have here.
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
