"""``headrouter prune --page``: the sound, its spectrogram, and the tokens that stay lit."""

from __future__ import annotations

import io
import itertools

import av
import numpy as np
from matplotlib.figure import Figure

from calibrate.models.asking import Answer
from calibrate.pruning.result import Result
from calibrate.sound.figures import png
from calibrate.sound.spectrogram import spectrogram
from calibrate.sound.timeline import marks
from calibrate.terminal.pages import data_uri, page

#: Pixels that a second of sound takes at least, and the widest and highest picture of it.
_PIXELS_A_SECOND, _WIDEST, _HIGH = 16, 16_000, 256
#: The narrowest picture; it is stretched to the page.
_NARROWEST = 1200
_DPI = 100

#: What browsers know the sound by.
_MEDIA_TYPE = "audio/ogg"
#: Enough for speech and recognisable music: a quarter of a megabyte a minute.
_BITS_PER_SECOND = 32_000
#: The rate that Opus works at inside, whatever comes in.
_RATE = 48_000
#: Samples that are handed over at a time.
_BLOCK = 1 << 16


def render(result: Result) -> bytes:
    """Return the page, an HTML file that holds all it shows."""
    rate = result.loaded.frontend.sample_rate
    sound = ogg_opus(result.samples, rate)
    tokens = result.entry.audio_tokens
    width = min(_WIDEST, round(result.seconds * _PIXELS_A_SECOND))
    return page(
        "calibrate.pruning",
        file=result.file.name,
        question=result.question,
        answers={"pruned": _text(result.answer), "unpruned": _text(result.answer_unpruned)},
        same=result.answer == result.answer_unpruned,
        seconds=result.seconds,
        tokens=tokens,
        kept=len(result.kept),
        seconds_per_token=result.loaded.frontend.seconds_per_token,
        dropped=_dropped(result.kept, tokens),
        kept_indices=" ".join(map(str, result.kept)),
        width=width,
        marks=marks(result.seconds),
        picture=data_uri("image/png", _picture(result, max(width, _NARROWEST))),
        sound=data_uri(_MEDIA_TYPE, sound),
        megabytes=len(sound) / 1e6,
        facts=list(_facts(result).items()),
        warnings=result.warnings,
    )


def _text(answer: Answer) -> str:
    text = answer.text.strip() or "(nothing)"
    return text if answer.complete else f"{text} … (cut at --max-new-tokens)"


def _facts(result: Result) -> dict[str, str]:
    loaded = result.loaded
    facts = {
        "Kept": f"{len(result.kept)} of {result.entry.audio_tokens} audio tokens,"
        f" ratio {result.ratio:g}, from layer {result.layer} on",
        "Method": result.method,
        "Model": f"{loaded.id}" + (f" at {loaded.revision}" if loaded.revision else ""),
        "Prefill": f"{result.prefill_seconds:.3g} s pruned, {result.prefill_seconds_unpruned:.3g} s"
        f" unpruned (encoder and decoder; medians of {result.prefill_runs} warm runs, in turn)",
    }
    if result.mixing is not None:
        mixing = ", ".join(f"{name} {part:.2f}" for name, part in result.mixing.items())
        facts["Routing"] = f"spread {result.spread:.4f}: {mixing}"
    if result.profile is not None:
        facts["Profile"] = f"of {result.profile.model.id}, {result.profile.digest}"
    return facts


def _dropped(kept: list[int], tokens: int) -> str:
    """Return an SVG path over every run of dropped tokens, a unit wide and high a token."""
    edges = [-1, *kept, tokens]
    gaps = [(left + 1, right) for left, right in itertools.pairwise(edges)]
    return "".join(f"M{begin} 0H{end}V1H{begin}z" for begin, end in gaps if end > begin)


def _picture(result: Result, width: int) -> bytes:
    """Draw the spectrogram and nothing around it."""
    figure = Figure(figsize=(width / _DPI, _HIGH / _DPI), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    spectrogram(axes, result.samples, result.loaded.frontend.sample_rate)
    axes.set_xlim(0, result.seconds)
    axes.set_axis_off()
    return png(figure)


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
