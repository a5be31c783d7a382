"""Reading a recording: whatever FFmpeg decodes, to float32 mono at the model's rate.

A recording is read whole or not at all: what ends early is refused, and what cannot be decoded in
the middle is said. How long it may be is asked of its header first, and again while it is decoded:
what a file unpacks to is no matter of its size.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass

import av
import numpy as np
import soundfile
import soxr

from calibrate.sound.files import containers, ogg
from calibrate.sound.files.decoding import Sound, opened_sound
from calibrate.sound.files.sources import Source, Span, opened, reading
from calibrate.sound.mixing import Mix, too_long
from calibrate.terminal.errors import AudioError, AudioWarning

#: Rate of the samples of calibrations and evaluations, whatever rate a model takes.
SAMPLE_RATE = 16_000
#: The longest recording that is read for whoever sets no limit, in seconds.
LONGEST = 7_200.0

#: What decodes and resamples, with versions: written into profiles.
DECODER = (
    f"PyAV {av.__version__}"
    + "".join(
        f", {name} {'.'.join(map(str, av.library_versions[name]))}"
        for name in ("libavformat", "libavcodec")
    )
    + f", soxr {soxr.__version__} HQ; shipped clips: soundfile {soundfile.__version__},"
    f" libsndfile {soundfile.__libsndfile_version__}"
)

#: How much earlier than asked a part may end, in seconds: lengths in manifests are rounded.
_ROUNDED = 0.1


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording as a model is given it."""

    samples: np.ndarray
    """float32 [n], mono."""
    warnings: tuple[str, ...]
    """What should be said of it, each without its name."""


def load_audio(
    given: str | os.PathLike[str] | Source,
    sample_rate: int = SAMPLE_RATE,
    *,
    offset: float = 0.0,
    duration: float | None = None,
    max_seconds: float = LONGEST,
) -> np.ndarray:
    """Read a recording and warn (:class:`AudioWarning`) of what is odd about it.

    See :func:`read`.

    Returns:
        float32 [n], mono, at ``sample_rate``.
    """
    recording = read(given, sample_rate, offset=offset, duration=duration, max_seconds=max_seconds)
    name = given.name if isinstance(given, Source) else os.fspath(given)
    for text in recording.warnings:
        warnings.warn(f"{name}: {text}", AudioWarning, stacklevel=2)
    return recording.samples


def read(
    given: str | os.PathLike[str] | Source,
    sample_rate: int = SAMPLE_RATE,
    *,
    offset: float = 0.0,
    duration: float | None = None,
    max_seconds: float = LONGEST,
) -> Recording:
    """Read a recording: any container and codec that FFmpeg reads, from a file or a pipe.

    Channels are averaged; other rates are resampled by soxr at its HQ setting.

    Args:
        given: path of a local file or named pipe, or an open source.
        sample_rate: of the result.
        offset: where to begin, in seconds.
        duration: how much to read, in seconds; ``None``: up to the end.
        max_seconds: the longest that is taken; what is longer is refused, if possible before it is
            decoded.

    Raises:
        MissingAudioError: there is no such file.
        AudioError: not audio, empty, truncated, too long, shorter than the part that is asked for,
            or with samples that are no sound.
    """
    _check_part(offset, duration)
    end = math.inf if duration is None else offset + duration
    with opened(given) as source:
        mix = Mix(source.name, sample_rate, min(max_seconds, LONGEST))
        with reading(source.name):
            heard, remarks = _decode(source, mix, offset, end, min(max_seconds, LONGEST))
        mono = mix.end()
    if duration is not None and heard < end - _ROUNDED:
        raise AudioError(
            f"{source.name}: {duration:g} s from {offset:g} s on are asked for, and it ends after"
            f" {heard:.2f} s"
        )
    if not mono.size:
        raise AudioError(f"{source.name}: {_nothing(heard, offset)}")
    return Recording(mono, (*dict.fromkeys([*remarks, *mix.remarks()]),))


def resample(samples: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Return samples [n] at ``rate`` as they are at ``sample_rate``."""
    return samples if rate == sample_rate else soxr.resample(samples, rate, sample_rate, "HQ")


def probe(given: Source, max_seconds: float = LONGEST) -> None:
    """Refuse what can be refused without decoding: not audio, truncated, too long by its header.

    Raises:
        AudioError: see :func:`read`.
    """
    with reading(given.name):
        spans, _ = _spans(given)
    with opened_sound(spans[0], given.name) as sound:
        _check_stated(sound, given.name, 0.0, math.inf, max_seconds)


def duration(given: str | os.PathLike[str] | Source) -> float:
    """Return how long a recording lasts, in seconds, however long that is.

    By its header where that states it and is not known to be wrong, else by decoding all of it.

    Raises:
        MissingAudioError: there is no such file.
        AudioError: not audio, empty or truncated.
    """
    with opened(given) as source, reading(source.name):
        spans, complete = _spans(source)
        trusted = not containers.contradictions(source.file)
        heard = 0.0
        for span in spans:
            with opened_sound(span, source.name, heard) as sound:
                if trusted and sound.account.stated:
                    heard += sound.account.stated
                    continue
                heard += sum(samples.shape[1] / rate for samples, rate in sound.blocks())
                sound.account.check_end(complete=complete)
    if not heard:
        raise AudioError(f"{source.name}: {_nothing(heard, 0.0)}")
    return heard


def _decode(
    source: Source, mix: Mix, offset: float, end: float, most: float
) -> tuple[float, list[str]]:
    """Give the mix what lies between two times; return how much was heard, and remarks."""
    spans, complete = _spans(source)
    remarks = containers.contradictions(source.file)
    heard = 0.0
    for span in spans:
        with opened_sound(span, source.name, heard) as sound:
            _check_stated(sound, source.name, offset, end, most)
            if not remarks:  # a header that is wrong about rates is wrong about places
                heard += sound.skip(offset - heard)
            for samples, rate in sound.blocks():
                length = samples.shape[1]
                first, last = (
                    round(min(max(0.0, (edge - heard) * rate), length)) for edge in (offset, end)
                )
                mix.add(samples[:, first:last], rate)
                heard += length / rate
                if heard >= end:
                    return heard, [*remarks, *sound.account.remarks(whole=False, complete=complete)]
            sound.account.check_end(complete=complete)
            remarks += sound.account.remarks(whole=True, complete=complete)
    return heard, remarks


def _spans(source: Source) -> tuple[list[Span], bool]:
    """Return what one decoder can read each, and whether all bytes are known to be there.

    Raises:
        AudioError: bytes are missing at the end.
    """
    size = source.size
    edges = [(0, size)]
    if ogg.is_ogg(source.file):
        edges, complete = ogg.parts(source.file, size)
        if not complete:
            raise AudioError(f"{source.name}: truncated: its stream has no end; copy it again")
    else:
        promised = containers.promised_size(source.file)
        complete = promised is not None
        if promised is not None and promised > size:
            raise AudioError(
                f"{source.name}: truncated: its header promises {promised} bytes, and it has"
                f" {size}; copy it again, or make what is left a file of its own: ffmpeg -i IN"
                " rest.wav"
            )
    name = f"audio{source.suffix}"
    return [Span(source.file, first, last, name) for first, last in edges], complete


def _check_stated(sound: Sound, name: str, offset: float, end: float, most: float) -> None:
    """Refuse what is too long by its header."""
    stated = sound.account.stated
    if stated is not None and min(stated, end) - offset > most + _ROUNDED:
        raise AudioError(too_long(name, stated, most))


def _check_part(offset: float, duration: float | None) -> None:
    if not (math.isfinite(offset) and offset >= 0):
        raise AudioError(f"offset is {offset!r}; give seconds from 0 on")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise AudioError(f"duration is {duration!r}; give seconds, more than 0")


def _nothing(heard: float, offset: float) -> str:
    if not heard:
        return "the file holds no samples; record or copy it again"
    if offset >= heard:
        return f"it ends after {heard:.2f} s, before the offset of {offset:g} s"
    return f"its {heard * 1000:.3g} ms are too short to resample"
