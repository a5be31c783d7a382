"""Training batches: scenes of one length, all their questions packed behind the audio.

A scene's audio is encoded once for all of its questions. They stand one after another behind the
shared prefix, each with the positions it would have alone, and a mask keeps them from seeing each
other: the loss is that of separate prompts at a fraction of the cost.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

from tiny_omni.clips import Bank
from tiny_omni.questions import TASKS, Question, questions
from tiny_omni.scenes import TOKEN_SAMPLES, Scene, compose
from tiny_omni.vocabulary import (
    BEDS,
    DIGITS,
    DRINKS,
    EMOTIONS,
    EVENTS,
    GENDERS,
    INSTRUMENTS,
    KEYWORDS,
    SENTENCES,
)

#: What may sound in a frame; the frame-level loss of the audio embeddings tells these apart.
SOUNDS = (
    "",
    *(f"digit/{name}" for name in DIGITS),
    *(f"keyword/{name}" for name in KEYWORDS),
    *(f"order/{name}" for name in DRINKS),
    *(f"german/{name}" for name in SENTENCES),
    "english",
    *(f"event/{name}" for name in EVENTS),
    *(f"instrument/{name}" for name in INSTRUMENTS),
)
#: Frame-level heads: name -> number of classes.
FRAME_HEADS = {
    "sound": len(SOUNDS),
    "emotion": len(EMOTIONS),
    "gender": len(GENDERS),
    "bed": len(BEDS) + 1,
}
IGNORE = -100
#: What is learned last counts more: reading digits off in order.
_WEIGHTS = {"digits": 3.0, "reasoning": 2.0}
_SOUND_ID = {name: index for index, name in enumerate(SOUNDS)}
_EMOTION_ID = {name: index for index, name in enumerate(EMOTIONS)}
_BED_ID = {name: index for index, name in enumerate(BEDS)}


@dataclass
class Batch:
    """Scenes of one length and their packed questions."""

    samples: torch.Tensor
    """float32 [B, n]."""
    frames: dict[str, torch.Tensor]
    """Frame labels, LongTensor [B, N_a] per head; -100 where undefined."""
    ids: torch.Tensor
    """LongTensor [B, L]: prefix with audio placeholders, then the packed questions."""
    positions: torch.Tensor
    """LongTensor [B, L]."""
    segments: torch.Tensor
    """LongTensor [B, L]: 0 the shared prefix, 1.. the questions, -1 padding."""
    labels: torch.Tensor
    """LongTensor [B, L]: the next token where it belongs to an answer, else -100."""
    weights: torch.Tensor
    """Float [B, L]: what the loss at a label counts."""
    tasks: list[list[str]]
    """The tasks of each row's questions, in segment order."""

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``."""
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, torch.Tensor)}
        frames = {name: labels.to(device) for name, labels in self.frames.items()}
        return Batch(**{**vars(self), **moved, "frames": frames})


class Packer:
    """Turns scenes with questions into a :class:`Batch`."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        marker = "\x00"
        content = [{"type": "audio"}, {"type": "text", "text": marker}]
        asked: list[dict[str, Any]] = [{"role": "user", "content": content}]
        whole = str(
            tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        )
        head, self._tail = whole.split(marker)
        before, after = head.split("<|AUDIO|>")
        self._tokenizer = tokenizer
        self._before, self._after = self._encode(before), self._encode(after)
        self._audio, self._pad = tokenizer.audio_token_id, tokenizer.pad_token_id
        self._end = [tokenizer.eos_token_id]

    def __call__(self, scenes: list[Scene], asked: list[list[Question]]) -> Batch:
        """Pack scenes of one length; ``asked`` may hold empty lists (encoder training)."""
        rows = [self._row(scene, row) for scene, row in zip(scenes, asked, strict=True)]
        length = max(len(row[0]) for row in rows)
        fills = (self._pad, 0, -1, IGNORE, 0.0)
        ids, positions, segments, labels, weights = (
            torch.tensor([row[i] + [fill] * (length - len(row[i])) for row in rows])
            for i, fill in enumerate(fills)
        )
        labelled = [frame_labels(scene) for scene in scenes]
        return Batch(
            samples=torch.from_numpy(np.stack([scene.samples for scene in scenes])),
            frames={name: torch.stack([row[name] for row in labelled]) for name in labelled[0]},
            ids=ids,
            positions=positions,
            segments=segments,
            labels=labels,
            weights=weights,
            tasks=[[question.task for question in row] for row in asked],
        )

    def _row(self, scene: Scene, asked: list[Question]) -> tuple[list[Any], ...]:
        audio = [self._audio] * (len(scene.samples) // TOKEN_SAMPLES)
        ids = self._before + audio + self._after
        start = len(ids)
        positions, segments = list(range(start)), [0] * start
        labels, weights = [IGNORE] * start, [0.0] * start
        for number, question in enumerate(asked, 1):
            prompt = self._encode(question.prompt + self._tail)
            answer = self._encode(question.answer) + self._end
            ids += prompt + answer[:-1]
            size = len(prompt) + len(answer) - 1
            positions += range(start, start + size)
            segments += [number] * size
            labels += [IGNORE] * (len(prompt) - 1) + answer
            weights += [_WEIGHTS.get(question.task, 1.0)] * size
        return ids, positions, segments, labels, weights

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text)["input_ids"]
        return ids


def frame_labels(scene: Scene) -> dict[str, torch.Tensor]:
    """What sounds in each 40 ms frame: LongTensor [N_a] per head, -100 where undefined.

    Beside the encoder's heads, ``ordinal``: which digit of the sequence it is, from 0.
    """
    count = len(scene.samples) // TOKEN_SAMPLES
    frames = {name: torch.full((count,), IGNORE) for name in (*FRAME_HEADS, "ordinal")}
    frames["sound"].zero_()
    frames["bed"].fill_(_BED_ID[scene.bed.label] if scene.bed else len(BEDS))
    for item in scene.items:
        for number, placed in enumerate(item.clips):
            clip = placed.clip
            span = slice(round(placed.start / TOKEN_SAMPLES), round(placed.end / TOKEN_SAMPLES))
            name = "english" if clip.kind == "english" else f"{clip.kind}/{clip.label}"
            frames["sound"][span] = _SOUND_ID[name]
            if clip.kind == "digit":
                frames["ordinal"][span] = number
            if clip.emotion:
                frames["emotion"][span] = _EMOTION_ID[clip.emotion]
            if clip.gender:
                frames["gender"][span] = GENDERS.index(clip.gender)
    return frames


def log_mel(samples: torch.Tensor, extractor: WhisperFeatureExtractor) -> torch.Tensor:
    """``WhisperFeatureExtractor``'s features of a batch [B, n] -> [B, 128, n / 160], on its device.

    Batched and differentiable; equal to the extractor's own output on audio padded to 30 s.
    """
    padded = torch.nn.functional.pad(samples, (0, extractor.n_fft))
    window = torch.hann_window(extractor.n_fft, device=samples.device)
    spectrum = torch.stft(
        padded, extractor.n_fft, extractor.hop_length, window=window, return_complex=True
    )
    power = spectrum[..., : samples.shape[-1] // extractor.hop_length].abs().square()
    filters = torch.from_numpy(extractor.mel_filters).to(samples.device, torch.float32)
    mel = (filters.T @ power).clamp(min=1e-10).log10()
    mel = torch.maximum(mel, mel.amax(dim=(1, 2), keepdim=True) - 8.0)
    return (mel + 4.0) / 4.0


class Stream(IterableDataset[Batch]):
    """Endless training batches; batch ``i`` depends on the seed and ``i`` alone (resumable)."""

    def __init__(
        self,
        packer: Packer,
        *,
        seed: int,
        first: int,
        stride: int,
        ask: bool,
        long: float,
        seconds: float,
    ) -> None:
        self.packer, self.seed, self.first, self.stride = packer, seed, first, stride
        self.ask, self.long, self.seconds = ask, long, seconds

    def __iter__(self) -> Iterator[Batch]:
        """Yield batch ``first``, ``first + stride``, …, spread over the loader's workers."""
        worker = torch.utils.data.get_worker_info()
        at, step = (worker.id, worker.num_workers) if worker else (0, 1)
        bank = Bank.of("train")
        for index in range(self.first + at * self.stride, 10**12, step * self.stride):
            rng = random.Random(f"{self.seed}/{index}")
            length = self._length(rng)
            count = max(3, round(self.seconds / length))
            needs = [rng.choice(TASKS[rng.choice(list(TASKS))].needs) for _ in range(count)]
            scenes = [
                compose(bank, f"{self.seed}/{index}/{row}", length, varied=True, need=need)
                for row, need in enumerate(needs)
            ]
            asked = [
                questions(scene, f"{self.seed}/{index}/{row}") if self.ask else []
                for row, scene in enumerate(scenes)
            ]
            yield self.packer(scenes, asked)

    def _length(self, rng: random.Random) -> float:
        draw = rng.random()
        if draw >= self.long:
            return 4.0 + 0.4 * rng.randrange(11)
        return 10.0 + 0.8 * rng.randrange(13 if draw >= self.long / 3 else 26)
