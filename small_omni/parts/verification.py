"""Verify the parts by what they do: Whisper writes down a sentence, SmolLM2 completes one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import jiwer
import numpy as np
import soundfile
import torch
from transformers import LlamaForCausalLM, WhisperFeatureExtractor, WhisperForConditionalGeneration

from small_omni.assembly import Parts
from small_omni.parts.packages import PartsError
from small_omni.parts.whisper import END, START
from tiny_omni import AUDIO_DIR

_BEGINNING, _COMPLETION = "The capital of France is", " Paris"
#: Most words that may be wrong of all; Whisper base makes some errors even in clean speech.
_MOST_WRONG = 0.2


def verify(parts: Parts) -> Iterator[str]:
    """Yield what was seen to work, one line a part.

    Raises:
        PartsError: a part does not do what it should.
    """
    samples, spoken = _sentence()
    heard = transcribe(parts, samples)
    wrong = jiwer.wer(spoken, heard or "-")
    if wrong > _MOST_WRONG:
        raise PartsError(f"Whisper hears {heard!r} where {spoken!r} is said; the part is damaged")
    yield f"Whisper hears: {heard} ({1 - wrong:.0%} of the words right)"
    told = _complete(parts, _BEGINNING)
    if not told.startswith(_COMPLETION):
        raise PartsError(f"SmolLM2 completes {_BEGINNING!r} by {told!r}; the part is damaged")
    yield f"SmolLM2 completes: {_BEGINNING}{told}"


def _sentence() -> tuple[np.ndarray, str]:
    """The first English sentence of the calibration split, which installed packages hold too."""
    for line in (AUDIO_DIR / "metadata.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["task"] == "sentence_transcription" and row["split"] == "calibration":
            samples, _ = soundfile.read(AUDIO_DIR / row["split"] / row["file"], dtype="float32")
            return samples, row["transcript"]
    raise PartsError("tiny_omni/audio has no sentence to verify Whisper with")


@torch.inference_mode()
def transcribe(parts: Parts, samples: np.ndarray) -> str:
    """What Whisper writes down of at most 30 s at 16 kHz: greedy, lower case, no punctuation."""
    model = WhisperForConditionalGeneration(parts.whisper).eval()
    model.load_state_dict(parts.whisper_state)
    extractor = WhisperFeatureExtractor(feature_size=parts.whisper.num_mel_bins)
    features = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
    encoded = model.model.encoder(features)
    ids = list(START)
    while ids[-1] != END and len(ids) < parts.whisper.max_target_positions:
        given = torch.tensor([ids])
        out = model(encoder_outputs=encoded, decoder_input_ids=given, use_cache=False)
        ids.append(int(out.logits[0, -1].argmax()))
    text = parts.whisper_tokenizer.decode(ids, skip_special_tokens=True)
    return " ".join(re.findall(r"[\w']+", text.lower()))


@torch.inference_mode()
def _complete(parts: Parts, text: str) -> str:
    """The next tokens that SmolLM2 finds most likely."""
    model = LlamaForCausalLM(parts.llama).eval()
    model.model.load_state_dict(parts.llama_state)
    model.tie_weights()
    ids = torch.tensor([parts.tokenizer.encode(text).ids])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False
    )
    return parts.tokenizer.decode(out[0, ids.shape[1] :].tolist())
