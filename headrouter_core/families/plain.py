"""Families that need no knowledge of their own: discovery finds all there is to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrouter_core.families.base import Family


def _behind(*offsets: int) -> Callable[[Any], tuple[int, ...]]:
    """Ids of markers that only the released tokenizers know, as distances from the audio token."""
    return lambda config: tuple(config.audio_token_id + offset for offset in offsets)


def _plain(name: str, model_class: str, rate: float, **more: Any) -> Family:
    classes = (f"{model_class}ForConditionalGeneration",)
    return Family(name, (name,), classes, rate, **more)


_LORA = (
    "Its LoRA is on while generate gets audio features. Behind prune_inputs generate gets none:"
    " call transformers.GenerationMixin.generate(model, ...), which leaves the LoRA as it is."
)

_UNMASKED = "Its encoder sees the padding of a batch: ask about one recording at a time."

FAMILIES: tuple[Family, ...] = (
    _plain(
        "qwen2_audio",
        "Qwen2Audio",
        25,
        notes=("Prompts of old processors, with one placeholder an audio, are refused.",),
        vllm="renumbered",
        markers=_behind(1, 2),
    ),
    _plain(
        "audioflamingo3",
        "AudioFlamingo3",
        25,
        notes=("One audio a prompt.",),
        vllm="renumbered",
    ),
    _plain("musicflamingo", "MusicFlamingo", 25, notes=("One audio a prompt.",)),
    _plain(
        "voxtral",
        "Voxtral",
        12.5,
        rate_note="padded to whole windows of 30 s, 375 tokens each",
        notes=("Tokens of the padding are audio tokens: they count, and can be kept.",),
        markers=_behind(1),
    ),
    _plain(
        "granite_speech",
        "GraniteSpeech",
        10,
        rate_note="3 for each 0.3 s begun",
        notes=(_LORA, _UNMASKED),
    ),
    _plain(
        "granite_speech_plus",
        "GraniteSpeechPlus",
        10,
        rate_note="3 for each 0.3 s begun",
        notes=(_LORA, _UNMASKED),
    ),
    _plain("glmasr", "GlmAsr", 12.5, notes=("One audio a prompt.",)),
    _plain(
        "vibevoice_asr",
        "VibeVoiceAsr",
        7.5,
        notes=(
            "Draws noise into its audio embeddings unless called with sample=False: two runs,"
            " pruned or not, differ by it. The commands of headrouter switch it off.",
            "generate takes no embeddings: what prune_inputs returns is for its forward.",
            "Set the attention implementation of text_config only; its encoders know one.",
        ),
    ),
    _plain(
        "qwen3_asr",
        "Qwen3ASR",
        13,
        rate_note="13 for each whole second, one for each 80 ms begun of the rest",
        notes=("One audio a prompt.",),
        vllm="exact",
    ),
    _plain("fun_asr_nano", "FunAsrNano", 100 / 6, notes=("One audio a prompt.", _UNMASKED)),
    _plain(
        "moss_transcribe_diarize",
        "MossTranscribeDiarize",
        12.5,
        rate_note="rounded up in each window of 30 s",
        notes=("Time markers between its audio tokens are text tokens: they stay.",),
        divided=True,
    ),
)
