"""Sound inside a page: small, and played by browsers."""

from __future__ import annotations

import io

import av
import numpy as np

#: What browsers know it by.
MEDIA_TYPE = "audio/ogg"
#: Enough for speech and recognisable music: a quarter of a megabyte a minute.
_BITS_PER_SECOND = 32_000
#: The rate that Opus works at inside, whatever comes in.
_RATE = 48_000
#: Samples that are handed over at a time.
_BLOCK = 1 << 16


def ogg_opus(samples: np.ndarray, rate: int) -> bytes:
    """Return samples, float32 [n] mono, as an Ogg file with Opus in it."""
    file = io.BytesIO()
    resampler = av.AudioResampler(format="flt", layout="mono", rate=_RATE)
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=_RATE, layout="mono")
        stream.bit_rate = _BITS_PER_SECOND
        for begin in range(0, len(samples), _BLOCK):
            block = np.ascontiguousarray(samples[None, begin : begin + _BLOCK], np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
            frame.sample_rate, frame.pts = rate, begin
            for part in resampler.resample(frame):
                container.mux(stream.encode(part))
        for part in resampler.resample(None):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()
