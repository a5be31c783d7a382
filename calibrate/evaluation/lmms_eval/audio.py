"""What tasks of lmms-eval hand over as audio, to float32 mono at the model's rate."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from calibrate.sound.files.sources import Source
from calibrate.sound.reading import load_audio, resample
from calibrate.terminal.errors import AudioError
from headrouter_core.errors import UsageError

#: Integer samples -> their full scale.
_FULL_SCALE = {np.dtype(np.int16): 2**15, np.dtype(np.int32): 2**31}


def read_audio(given: Any, sample_rate: int, max_seconds: float = math.inf) -> np.ndarray:
    """Return one recording as a front end takes it.

    Args:
        given: a path; a mapping with ``array`` and ``sampling_rate``, or with a file's ``bytes``,
            or with its ``path``, as the Audio column of ``datasets`` decodes it; or a decoder with
            ``get_all_samples()``, as that column gives it from ``datasets`` 4 on.
        sample_rate: the model's.
        max_seconds: the longest that a file is read for.

    Returns:
        float32 [n], mono, at ``sample_rate``.

    Raises:
        UsageError: it is none of these: an image or a video, say.
        AudioError: it cannot be read, or holds no samples or samples that are no numbers.
    """
    if isinstance(given, str | os.PathLike):
        return load_audio(given, sample_rate, max_seconds=max_seconds)
    if hasattr(given, "get_all_samples"):
        decoded = given.get_all_samples()
        return _from_samples(decoded.data, decoded.sample_rate, sample_rate)
    if isinstance(given, Mapping):
        if given.get("array") is not None:
            return _from_samples(given["array"], given.get("sampling_rate"), sample_rate)
        if given.get("bytes"):
            content = Source("the audio's bytes", "", io.BytesIO(given["bytes"]))
            return load_audio(content, sample_rate, max_seconds=max_seconds)
        if given.get("path"):
            return load_audio(given["path"], sample_rate, max_seconds=max_seconds)
        what = f"a mapping with {', '.join(map(str, given)) or 'nothing in it'}"
    else:
        what = f"a {type(given).__name__}"
    raise UsageError(
        f"the task hands over {what}; this model hears only: give a path, array and sampling_rate,"
        " the bytes of an audio file, or an audio decoder"
    )


def _from_samples(array: Any, rate: Any, sample_rate: int) -> np.ndarray:
    """Bring decoded samples [n], [channels, n] or [n, channels] to mono and to a rate."""
    samples = np.asarray(array)
    if not isinstance(rate, int | np.integer) or rate < 1:
        raise AudioError(f"the audio's sampling_rate is {rate!r}; give samples a second")
    if samples.ndim not in (1, 2) or not samples.size:
        raise AudioError(
            f"the audio's array has shape {list(samples.shape)}; give [n] or [channels, n]"
        )
    if samples.dtype in _FULL_SCALE:
        samples = samples / np.float32(_FULL_SCALE[samples.dtype])
    elif samples.dtype.kind != "f":
        raise AudioError(
            f"the audio's array holds {samples.dtype}; give floats, full scale 1, or int16 or int32"
        )
    if not np.isfinite(samples).all():
        raise AudioError("the audio's array holds samples that are NaN or infinite")
    if samples.ndim == 2:
        # libraries differ in which comes first; there are more samples than channels
        samples = samples.mean(axis=int(np.argmin(samples.shape)), dtype=np.float32)
    mono = resample(samples.astype(np.float32, copy=False), int(rate), sample_rate)
    return np.ascontiguousarray(mono)
