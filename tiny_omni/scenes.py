"""Scenes of up to 60 seconds, composed from clips with a seed.

A scene holds items (someone says digits, a keyword, an order, a German or an English sentence; a
sound event; an instrument) one after another with gaps, each kind at most once so that a question
has one answer, over an optional background bed and noise, at varying levels.
"""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass

import numpy as np

from tiny_omni.augment import augment
from tiny_omni.clips import SAMPLE_RATE, Bank, Clip

KINDS = ("digits", "keyword", "order", "german", "english", "event", "instrument")
MIN_SECONDS, MAX_SECONDS = 4.0, 60.0
#: One audio token of the model: scenes are whole multiples of it.
TOKEN_SAMPLES = 640
#: Most digits that a speaker says.
MAX_DIGITS = 7
_FADE = 80
_VARIATIONS = 20
#: Kind of an item, and its clips: what is heard of each, and the silence before it, in samples.
Part = tuple[str, list[tuple[Clip, np.ndarray, int]]]


@dataclass(frozen=True)
class Placed:
    """A clip (or a cut of it) at its place in the scene, in samples."""

    clip: Clip
    start: int
    end: int


@dataclass(frozen=True)
class Item:
    """One thing that happens in the scene."""

    kind: str
    clips: tuple[Placed, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its clips in the order they sound."""
        return tuple(placed.clip.label for placed in self.clips)


@dataclass(frozen=True)
class Scene:
    """A composed recording and all that is known about it."""

    samples: np.ndarray
    """float32 [n], mono at 16 kHz, n a multiple of 640."""
    items: tuple[Item, ...]
    bed: Clip | None

    def item(self, kind: str) -> Item | None:
        """The scene's item of this kind, if there is one."""
        return next((item for item in self.items if item.kind == kind), None)

    def behind(self, cluster: str) -> str:
        """The recording under the scene; empty where it is ``cluster``, or there is none."""
        return "" if self.bed is None or self.bed.source == cluster else self.bed.source

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE


def compose(
    bank: Bank, seed: int | str, seconds: float, *, varied: bool = False, need: str | None = None
) -> Scene:
    """Compose one scene.

    ``varied`` augments every clip (training); ``need`` names a kind that has to be in the scene,
    or ``"bed"``. Equal arguments give equal samples. Raises ``ValueError`` for a length outside
    [4, 60] seconds, an unknown need, or one of which the bank has no clip.
    """
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise ValueError(f"scenes are {MIN_SECONDS:g} to {MAX_SECONDS:g} s long, not {seconds:g} s")
    if need is not None and need not in (*KINDS, "bed"):
        raise ValueError(f"unknown kind {need!r}: expected one of {', '.join(KINDS)} or bed")
    if need is not None and not bank.holds(need):
        raise ValueError(f"the clips hold no {need}")
    rng = random.Random(f"{seed}/{seconds}/{need}")
    length = round(seconds * SAMPLE_RATE / TOKEN_SAMPLES) * TOKEN_SAMPLES
    parts = _draw_parts(bank, rng, length, varied, need)
    return mix(parts, length, bank, rng, varied=varied, bed=need == "bed")


def mix(
    parts: list[Part], length: int, bank: Bank, rng: random.Random, *, varied: bool, bed: bool
) -> Scene:
    """Place parts in their order at random times, over a background (always if ``bed``) and noise.

    Together, parts and gaps have at most ``length`` samples.
    """
    samples = np.zeros(length, np.float32)
    items = _place(parts, samples, rng)
    under = _add_bed(bank, samples, rng, varied) if bed or rng.random() < 0.75 else None
    _add_noise(samples, rng)
    peak = float(np.abs(samples).max())
    samples *= 10 ** (rng.uniform(-14, -1) / 20) / max(peak, 1e-6)
    return Scene(samples, items, under)


def _draw_parts(
    bank: Bank, rng: random.Random, length: int, varied: bool, need: str | None
) -> list[Part]:
    """Draw kinds until the scene is full."""
    # "digits" leads more often than the rest: three tasks ask about it
    order = rng.sample(KINDS, len(KINDS))
    if rng.random() < 0.4:
        order.sort(key=lambda kind: kind != "digits")
    if need in KINDS:
        order.sort(key=lambda kind: kind != need)
    room = int(length * rng.uniform(0.55, 0.85))
    parts = []
    for kind in filter(bank.holds, order):
        clips = draw(kind, bank, rng, length, varied)
        size = sum(len(samples) + gap for _, samples, gap in clips)
        if size <= room or (kind == need and size <= length):
            parts.append((kind, clips))
            room -= size
    rng.shuffle(parts)
    return parts


def draw(
    kind: str, bank: Bank, rng: random.Random, length: int, varied: bool
) -> list[tuple[Clip, np.ndarray, int]]:
    """Draw the clips of an item of this kind for a scene of ``length`` samples."""
    if kind == "digits":
        return _draw_digits(bank, rng, length, varied)
    if kind == "english":
        clip = rng.choice(_of_one_gender(bank.by_label["english"], rng))
    elif kind == "german":
        # emotion first: the corpus has fewer of some, and every emotion is asked equally often
        pools: dict[str, list[Clip]] = {}
        for clips in bank.by_label["german"].values():
            for clip in clips:
                pools.setdefault(str(clip.emotion), []).append(clip)
        clip = rng.choice(pools[rng.choice(sorted(pools))])
    else:
        labels = bank.by_label[kind]
        clip = rng.choice(labels[rng.choice(sorted(labels))])
    samples = _vary(clip, rng, varied)
    if kind in ("english", "event", "instrument"):
        longest = int(
            min(5.0 if kind == "english" else 4.0, length / SAMPLE_RATE / 3) * SAMPLE_RATE
        )
        samples = _cut(samples, longest, rng)
    return [(clip, samples, 0)]


def _of_one_gender(pools: dict[str, list[Clip]], rng: random.Random) -> list[Clip]:
    """Gender first, so that it is balanced: the clips of one gender, in a fixed order."""
    by_gender: dict[str, list[Clip]] = {}
    for name in sorted(pools):
        for clip in pools[name]:
            if clip.gender:
                by_gender.setdefault(clip.gender, []).append(clip)
    return by_gender[rng.choice(sorted(by_gender))]


def _draw_digits(
    bank: Bank, rng: random.Random, length: int, varied: bool
) -> list[tuple[Clip, np.ndarray, int]]:
    """One speaker says two or more digits; the count grows with the scene."""
    speakers = bank.by_speaker["digit"]
    voices = {name: [clips[0]] for name, clips in speakers.items()}
    clips = speakers[str(rng.choice(_of_one_gender(voices, rng)).speaker)]
    seconds = length / SAMPLE_RATE
    count = rng.randint(2, 3 if seconds < 6 else 5 if seconds < 8 else MAX_DIGITS)
    drawn = []
    for position in range(count):
        clip = rng.choice(clips)
        gap = int(rng.uniform(0.05, 0.5) * SAMPLE_RATE) if position else 0
        drawn.append((clip, _vary(clip, rng, varied), gap))
    return drawn


def _vary(clip: Clip, rng: random.Random, varied: bool) -> np.ndarray:
    samples = clip.read()
    if varied:
        samples = _variation(clip, rng.randrange(_VARIATIONS)).astype(np.float32)
    return levelled(samples)


def levelled(samples: np.ndarray) -> np.ndarray:
    """Samples at the level that all clips have before they are mixed."""
    power = np.sqrt(np.mean(samples**2) + 1e-10)
    return samples * np.float32(0.1 / power)


@functools.lru_cache(maxsize=32_768)
def _variation(clip: Clip, number: int) -> np.ndarray:
    """One of a clip's augmented variations, float16; kept: making one costs most of a scene."""
    speech = clip.kind not in ("event", "instrument", "bed")
    varied = augment(clip.read(), random.Random(f"{clip.file}/{number}"), speech=speech)
    return varied.astype(np.float16)


def _cut(samples: np.ndarray, longest: int, rng: random.Random) -> np.ndarray:
    if len(samples) <= longest:
        return samples
    start = rng.randrange(len(samples) - longest)
    return samples[start : start + longest].copy()


def _place(parts: list[Part], samples: np.ndarray, rng: random.Random) -> tuple[Item, ...]:
    """Mix the parts into ``samples`` at random places, in their order."""
    sizes = [sum(len(piece) + gap for _, piece, gap in clips) for _, clips in parts]
    free = len(samples) - sum(sizes)
    shares = sorted(rng.random() for _ in parts)
    items, used = [], 0
    for (kind, clips), size, share in zip(parts, sizes, shares, strict=True):
        cursor = int(free * share) + used
        level = 10 ** (rng.uniform(-8, 4) / 20)
        placed = []
        for clip, piece, gap in clips:
            cursor += gap
            end = cursor + len(piece)
            samples[cursor:end] += _faded(piece) * np.float32(level)
            placed.append(Placed(clip, cursor, end))
            cursor = end
        items.append(Item(kind, tuple(placed)))
        used += size
    return tuple(items)


def _faded(piece: np.ndarray) -> np.ndarray:
    """Short fades, so that a cut does not click (a click would tell where an item is)."""
    fade = min(_FADE, len(piece) // 2)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    piece[:fade] *= ramp
    piece[len(piece) - fade :] *= ramp[::-1]
    return piece


def _add_bed(bank: Bank, samples: np.ndarray, rng: random.Random, varied: bool) -> Clip:
    """Lay one background sound under the whole scene, looped with cross-fades where it is short."""
    labels = bank.by_label["bed"]
    clip = rng.choice(labels[rng.choice(sorted(labels))])
    piece = _vary(clip, rng, varied)
    fade = min(SAMPLE_RATE // 4, len(piece) // 4)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    # equal-power cross-fades keep the level of noise-like sounds even over the seam
    piece[:fade] *= np.sin(ramp * math.pi / 2)
    piece[len(piece) - fade :] *= np.cos(ramp * math.pi / 2)
    step = len(piece) - fade
    bed = np.zeros(len(samples) + len(piece), np.float32)
    start = rng.randrange(step)
    for at in range(-start, len(samples), step):
        lo = max(at, 0)
        bed[lo : at + len(piece)] += piece[lo - at :]
    samples += bed[: len(samples)] * np.float32(10 ** (rng.uniform(-20, -7) / 20))
    return clip


def _add_noise(samples: np.ndarray, rng: random.Random) -> None:
    """White to brown noise, 25 to 50 dB below the items."""
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(len(samples), np.float32)
    smooth = rng.choice((0, 0, 2, 6))
    if smooth:
        noise = np.convolve(noise, np.ones(smooth, np.float32) / math.sqrt(smooth), "same")
    samples += noise * np.float32(0.1 * 10 ** (rng.uniform(-50, -25) / 20))
