"""The first stage: audio tokens learn to resemble the words for what sounds there.

Only the projection is trained, on cached states of the frozen encoder and without the decoder, so
it takes a minute or two; the decoder then meets audio that already speaks its language a little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from small_omni.recipe.trainee import Trainee
from tiny_omni.batches import FRAME_HEADS, IGNORE, SOUNDS, frame_labels
from tiny_omni.clips import Bank
from tiny_omni.scenes import compose
from tiny_omni.vocabulary import BEDS, EMOTIONS, EVENTS, GENDERS, INSTRUMENTS, NO_BED, SENTENCES

_SECONDS = 6.0
#: How much likelier a word gets by being nearer.
_SHARPNESS = 20.0
#: What one kind of label counts.
_WEIGHTS = {"sound": 1.0, "emotion": 0.3, "gender": 0.3, "bed": 0.3}


@dataclass(frozen=True)
class Frames:
    """What the frozen encoder makes of some scenes, and what sounds there."""

    states: torch.Tensor
    """[n, D], pooled and normalised: what the projection takes."""
    labels: dict[str, torch.Tensor]
    """Kind of label -> [n]; -100 where undefined."""


class Words:
    """The words for what may sound, as directions in the language model's embeddings."""

    def __init__(self, trainee: Trainee) -> None:
        table = trainee.decoder.embed_tokens.weight.detach().float()
        self._centre, self._size = table.mean(0), table.square().mean().sqrt()
        self._words = {
            name: functional.normalize(rows - self._centre, dim=-1)
            for name, rows in _embedded(trainee.tokenizer, table).items()
        }

    def loss(
        self, audio: torch.Tensor, labels: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """How far audio embeddings [n, D] are from the words for what sounds there [n].

        Also returns the share of frames whose nearest word is the right one, by kind of label.
        """
        audio = audio.float()
        directions = functional.normalize(audio - self._centre, dim=-1)
        # as large as the embeddings of words, so that the decoder's norms see nothing unusual
        loss = 0.1 * (audio.square().mean(-1).sqrt() / self._size - 1).square().mean()
        right = {}
        for name, words in self._words.items():
            named = labels[name] != IGNORE
            if named.any():
                logits, target = _SHARPNESS * directions[named] @ words.T, labels[name][named]
                loss = loss + _WEIGHTS[name] * functional.cross_entropy(logits, target)
                right[name] = (logits.argmax(-1) == target).float().mean().item()
        return loss, right


def align(trainee: Trainee, frames: Frames, steps: int, seed: int) -> dict[str, float]:
    """Train the projection, and return how much of what sounds it then names rightly."""
    words, projection = Words(trainee), trainee.encoder.proj
    optimizer = torch.optim.AdamW(projection.parameters(), weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    right: dict[str, float] = {}
    for step in range(steps):
        rate = 2e-3 * min(1, (step + 1) / 20) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = rate
        drawn = torch.randint(len(frames.states), (2048,), generator=generator)
        drawn = drawn.to(frames.states.device)
        labels = {name: row[drawn] for name, row in frames.labels.items()}
        loss, right = words.loss(projection(frames.states[drawn]), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: round(share, 3) for name, share in right.items()}


@torch.no_grad()
def listen(trainee: Trainee, scenes: int, seed: int) -> Frames:
    """Let the encoder hear so many training scenes."""
    bank, kept, states = Bank.of("train"), [], []
    hook = trainee.encoder.proj.register_forward_pre_hook(lambda _, given: states.append(given[0]))
    for number in range(scenes):
        scene = compose(bank, f"{seed}/align/{number}", _SECONDS, varied=True)
        trainee.encode(torch.from_numpy(scene.samples)[None].to(trainee.omni.device))
        kept.append(frame_labels(scene))
    hook.remove()
    labels = {name: torch.cat([row[name] for row in kept]) for name in FRAME_HEADS}
    return Frames(torch.cat(states), {k: v.to(trainee.omni.device) for k, v in labels.items()})


def _embedded(tokenizer: PreTrainedTokenizerFast, table: torch.Tensor) -> dict[str, torch.Tensor]:
    """Kind of label -> the mean embedding of the words for each class [classes, D]."""

    def embed(names: Iterable[str]) -> torch.Tensor:
        rows = [tokenizer(f" {name}")["input_ids"] for name in names]
        return torch.stack([table[torch.tensor(row, device=table.device)].mean(0) for row in rows])

    spoken = {"event": EVENTS, "instrument": INSTRUMENTS, "german": SENTENCES}
    sounds = []
    for sound in SOUNDS:
        kind, _, label = sound.partition("/")
        sounds.append(spoken.get(kind, {}).get(label, label) if label else kind or "...")
    return {
        "sound": embed(sounds),
        "emotion": embed(EMOTIONS.values()),
        "gender": embed(GENDERS),
        "bed": embed([*BEDS.values(), NO_BED]),
    }
