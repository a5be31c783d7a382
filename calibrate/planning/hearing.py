"""What a model will hear of a recording, and how much room is left beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from calibrate.planning.blueprint import Blueprint
from calibrate.sound.files.sources import Source
from calibrate.sound.reading import LONGEST, duration
from headrouter_core.scoring import keep_count

#: Silence that text tokens are counted beside, in seconds.
_SILENCE = 1.0


@dataclass(frozen=True)
class Prompt:
    """How many tokens a question has beside the audio."""

    text: int
    """Tokens that are no audio tokens: template, markers and question."""
    each_second: float
    """Those that stand between the audio tokens, a second; 0 in most families."""

    def tokens(self, seconds: float) -> int:
        """Return the tokens beside so much audio."""
        return self.text + round(self.each_second * seconds)


@dataclass(frozen=True)
class Heard:
    """One recording, as a model will be given it."""

    name: str
    seconds: float
    """How long it lasts."""
    heard: float
    """How much of that the model's front end takes."""
    audio_tokens: int
    """N_a of the whole recording."""
    kept: int
    """k."""
    text_tokens: int
    context: int
    """Tokens that the model takes."""
    reasons: tuple[str, ...]
    """Why it cannot be asked about; none where it can."""

    @property
    def prompt(self) -> int:
        """Tokens of the prompt of the whole recording."""
        return self.audio_tokens + self.text_tokens

    @property
    def left(self) -> int:
        """Positions that are left for the answer; negative where the prompt is too long."""
        return self.context - self.prompt

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints of it."""
        return {
            "file": self.name,
            "seconds": round(self.seconds, 6),
            "seconds_heard": round(self.heard, 6),
            "audio_tokens": self.audio_tokens,
            "kept": self.kept,
            "text_tokens": self.text_tokens,
            "prompt_tokens": self.prompt,
            "context": self.context,
            "context_left": self.left,
            "fits": not self.reasons,
            "reasons": list(self.reasons),
        }


def read_prompt(blueprint: Blueprint, question: str, system: str | None = None) -> Prompt:
    """Count the tokens of a question by what the front end makes of it beside silence.

    Raises:
        UsageError: text that the model reads as a control token.
    """
    short = _text_tokens(blueprint, question, system, _SILENCE)
    if not blueprint.anatomy.family.divided:
        return Prompt(short, 0.0)
    longer = _text_tokens(blueprint, question, system, 61 * _SILENCE)
    each = (longer - short) / (60 * _SILENCE)
    return Prompt(short, each)


def _text_tokens(blueprint: Blueprint, question: str, system: str | None, seconds: float) -> int:
    silence = np.zeros(round(seconds * blueprint.frontend.sample_rate), np.float32)
    made = blueprint.frontend.inputs([silence], question, system)
    return int(made["input_ids"].shape[1]) - blueprint.frontend.audio_tokens(len(silence))


def listen(blueprint: Blueprint, prompt: Prompt, source: Source, ratio: float) -> Heard:
    """Hold a recording against what the model takes.

    Raises:
        AudioError: not audio, or truncated.
    """
    return weigh(blueprint, prompt, source.name, [duration(source)], ratio)


def weigh(
    blueprint: Blueprint, prompt: Prompt, name: str, lengths: Sequence[float], ratio: float
) -> Heard:
    """Return what becomes of recordings of some lengths, in seconds, in one prompt."""
    frontend = blueprint.frontend
    counts = [frontend.audio_tokens(round(length * frontend.sample_rate)) for length in lengths]
    audio, seconds = sum(max(0, count) for count in counts), sum(lengths)
    heard = Heard(
        name=name,
        seconds=seconds,
        heard=sum(min(length, frontend.max_seconds) for length in lengths),
        audio_tokens=audio,
        kept=keep_count(audio, ratio) if audio else 0,
        text_tokens=prompt.tokens(seconds),
        context=blueprint.context,
        reasons=(),
    )
    reasons = tuple(_reasons(heard))
    if len(lengths) > 1 and not frontend.several_audios:
        reasons += (f"{len(lengths)} audios in one prompt, and this model takes one",)
    return replace(heard, reasons=reasons)


def _reasons(heard: Heard) -> Iterator[str]:
    """Yield why a recording cannot be asked about, and what to do."""
    if heard.audio_tokens < 1:
        yield f"{heard.seconds * 1000:.0f} ms are too short to become one audio token"
        return
    if heard.heard < heard.seconds:
        yield (
            f"HEARD WOULD BE {heard.heard:g} s OF {heard.seconds:.1f} s: the front end takes no"
            " more. headrouter refuses it; many servers cut it without a word. Cut it into parts"
        )
    elif heard.seconds > LONGEST:
        yield f"headrouter reads {LONGEST:g} s at most; cut it into parts"
    if heard.left < 1:
        yield (
            f"the prompt has {heard.prompt:,} tokens and the context {heard.context:,};"
            " pruning frees memory, not positions: cut it into parts"
        )
