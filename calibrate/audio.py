"""Reading audio: any format, rate and channel count to float32 mono at the model's rate.

A recording is decoded whole or not at all. libsndfile returns what it finds of a truncated file and
says nothing, so what the headers promise is compared with what came out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NoReturn

import numpy as np
import soundfile
import soxr

from calibrate.errors import AudioError, MissingAudioError

#: Rate of the samples of calibrations and evaluations, whatever rate a model takes.
SAMPLE_RATE = 16_000

#: What decodes and resamples, with versions: written into profiles.
DECODER = (
    f"soundfile {soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__},"
    f" soxr {soxr.__version__} HQ"
)

#: libsndfile's log of a chunk whose header promises another size than the file has.
_SIZES = re.compile(r"^\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", re.M)
#: The same for RF64, in frames: what was found, then what was promised.
_FRAMES = re.compile(
    r"Calculated frame count (\d+) does not match value from 'ds64' chunk of (\d+)"
)
#: Sizes from here on are placeholders of writers that could not seek back (pipes).
_UNKNOWN = 0x7FFF0000
#: Of an Ogg page (RFC 3533): its longest length, its header's length, the flag of the last page.
_OGG_PAGE, _OGG_HEADER, _OGG_END = 65_307, 27, 4


def load_audio(path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Read a recording (wav, flac, ogg, mp3, … whatever libsndfile decodes).

    Channels are averaged; other rates are resampled by soxr at its HQ setting.

    Returns:
        float32 [n], mono, at ``sample_rate``.

    Raises:
        MissingAudioError: there is no such file.
        AudioError: not audio, empty, truncated, or with samples that are no numbers.
    """
    path = Path(path)
    _check_file(path)
    samples, rate = _decode(path)
    bad = np.flatnonzero(~np.isfinite(samples).all(axis=1))
    if bad.size:
        raise AudioError(
            f"{path}: NaN or infinite samples ({bad.size} of {len(samples)}, the first at"
            f" {bad[0] / rate:.3f} s); export the recording again"
        )
    mono = resample(samples.mean(axis=1, dtype=np.float32), rate, sample_rate)
    if not mono.size:
        raise AudioError(f"{path}: {len(samples)} samples at {rate} Hz are too short to resample")
    return np.ascontiguousarray(mono)


def resample(samples: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Return samples [n] at ``rate`` as they are at ``sample_rate``."""
    return samples if rate == sample_rate else soxr.resample(samples, rate, sample_rate, "HQ")


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise MissingAudioError(f"{path} is a folder; give the path of an audio file")
    if not path.is_file():
        raise MissingAudioError(f"{path}: no such audio file; check the path")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror or error}") from error
    if empty:
        raise AudioError(f"{path}: the file is empty (0 bytes); record or copy it again")


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Return float32 [frames, channels] and the rate."""
    try:
        with soundfile.SoundFile(path) as file:
            promised = _promised(file)
            samples = file.read(dtype="float32", always_2d=True)
            rate, ogg = file.samplerate, file.format == "OGG"
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: named .raw, no header
        reason = getattr(error, "error_string", "no header").removeprefix("Error : ").rstrip(".")
        raise AudioError(
            f"{path}: not audio that can be read, or damaged (decoder: {reason}); readable are wav,"
            f" flac, ogg, mp3 and more, others convert first: ffmpeg -i {path.name} converted.wav"
        ) from error
    if not len(samples):
        raise AudioError(f"{path}: the file holds no samples; record or copy it again")
    if len(samples) < promised:
        _refuse_truncated(path, f"its headers promise about {promised} samples", samples, rate)
    if ogg and not _ogg_ends(path):
        _refuse_truncated(path, "its stream has no end", samples, rate)
    return samples, rate


def _refuse_truncated(path: Path, why: str, samples: np.ndarray, rate: int) -> NoReturn:
    raise AudioError(
        f"{path}: truncated: {why}, it holds {len(samples)} ({len(samples) / rate:.2f} s); copy it"
        f" again, or make what is left a file of its own: ffmpeg -i {path.name} rest.wav"
    )


def _promised(file: soundfile.SoundFile) -> int:
    """Return how many frames the headers promise."""
    log = file.extra_info
    for found, promised in _FRAMES.findall(log):
        return max(int(found), int(promised))
    for promised, found in _SIZES.findall(log):
        if int(found) < int(promised) < _UNKNOWN:
            # libsndfile has cut the frames to what is there: scale them back
            return -(-file.frames * int(promised) // max(int(found), 1)) or 1
    return file.frames


def _ogg_ends(path: Path) -> bool:
    """Return whether the last page of an Ogg file is whole and says that it is the last."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _OGG_PAGE))
        tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    if len(page) < _OGG_HEADER or not page[5] & _OGG_END:
        return False
    sizes = page[_OGG_HEADER : _OGG_HEADER + page[_OGG_HEADER - 1]]
    return len(page) >= _OGG_HEADER + page[_OGG_HEADER - 1] + sum(sizes)
