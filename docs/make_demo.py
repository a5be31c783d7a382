"""Run the README's demo and keep what it shows: ``python -m docs.make_demo``.

Writes ``docs/demo.json``, a command with what it printed and some questions with their answers and
kept tokens, and from it ``docs/images/demo.png``, whose ground is dark on every page.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
from pathlib import Path
from typing import Any

import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.evaluation.showing.plots.canvas import draw
from calibrate.models import named
from calibrate.models.asking import answer
from calibrate.sound.spectrogram import spectrogram
from calibrate.sound.timeline import spans
from headrouter_core import AdaptiveSegments, load_profile, prune
from headrouter_core.basics.writing import write
from tiny_omni import DEMO

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "docs" / "demo.json"
PICTURE = ROOT / "docs" / "images" / "demo.png"
RATIO = 0.9
QUESTIONS = (
    "What is the last digit?",
    "Which keyword is spoken?",
    "What is in the background?",
)
COMMAND = (
    f"headrouter prune tiny_omni/demo.flac --method adaptive_segments --ratio {RATIO:g}"
    f' --question "{QUESTIONS[1]}"'
)
#: Columns of the terminal that the command prints to.
_COLUMNS = "80"
#: How much of the sound is hidden where no token is kept, and the colour of those that are.
_DIMMED, _LIT = 0.8, "#ffa040"
#: Colours of the picture; its file holds half as many bytes as with 256.
_COLOURS = 64


Asked = dict[str, Any]


def record() -> dict[str, Any]:
    """Return the command, what it prints, and what is kept and answered for every question."""
    return {"command": COMMAND, "printed": printed(), "asked": [ask(q) for q in QUESTIONS]}


def printed() -> str:
    """Run the command in the root of the checkout and return its standard output."""
    arguments = shlex.split(COMMAND)[1:]
    with contextlib.chdir(ROOT):
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": _COLUMNS, "LINES": "40"})
    if done.exit_code:
        raise RuntimeError(f"{COMMAND} ended with {done.exit_code}: {done.stderr}")
    return done.stdout


def ask(question: str) -> Asked:
    """Ask the embedded model about the recording, with and without pruning."""
    loaded = named.load("tiny-omni", device="cpu")
    samples, _ = soundfile.read(DEMO, dtype="float32")
    inputs = loaded.place(loaded.frontend.inputs([samples], question))
    unpruned = answer(loaded, inputs, 16)
    with prune(loaded.model, AdaptiveSegments(load_profile("tiny-omni")), RATIO) as trace:
        pruned = answer(loaded, inputs, 16)
    return {
        "question": question,
        "pruned": pruned.text,
        "unpruned": unpruned.text,
        "audio_tokens": trace[0].audio_tokens,
        "kept": trace[0].kept.tolist(),
    }


def picture(asked: list[Asked]) -> bytes:
    """Draw the recording with the tokens lit that the first question keeps, all questions below.

    Returns:
        A PNG file.
    """
    samples, rate = soundfile.read(DEMO, dtype="float32")
    seconds = len(samples) / rate
    first = asked[0]

    def paint(figure: Figure) -> None:
        above, *rows = figure.subplots(
            1 + len(asked), 1, sharex=True, height_ratios=(3.2, *[1] * len(asked))
        )
        spectrogram(above, samples, rate)
        shade = figure.get_facecolor()
        for begin, end in _gaps(_spans(first, seconds), seconds):
            above.axvspan(begin, end, color=shade, alpha=_DIMMED, linewidth=0)
        above.set_title(
            f"{len(first['kept'])} of {first['audio_tokens']} audio tokens kept for"
            f" “{first['question']}” (lit)"
        )
        for row, one in zip(rows, asked, strict=True):
            _answers(row, one, seconds)
        rows[-1].tick_params(axis="x", length=3)
        rows[-1].set_xlabel("time (s)")
        rows[-1].set_xlim(0, seconds)

    few = io.BytesIO()
    with Image.open(io.BytesIO(draw(4.0, True, paint))) as many:
        colours = many.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    colours.save(few, "png", optimize=True)
    return few.getvalue()


def _answers(axes: Axes, asked: Asked, seconds: float) -> None:
    """Draw what one question keeps, and write its answers above it."""
    bars = [(begin, end - begin) for begin, end in _spans(asked, seconds)]
    axes.broken_barh(bars, (0, 1), facecolors=_LIT, linewidth=0)
    axes.set_ylim(0, 2.6)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    answers = f"{asked['pruned']}   (unpruned: {asked['unpruned']})"
    axes.text(0, 1.35, asked["question"], fontsize=9.5)
    axes.text(seconds / 2, 1.35, answers, fontsize=9.5, weight="bold", color=_LIT)


def _spans(asked: Asked, seconds: float) -> list[tuple[float, float]]:
    return spans(asked["kept"], seconds / asked["audio_tokens"], seconds)


def _gaps(lit: list[tuple[float, float]], seconds: float) -> list[tuple[float, float]]:
    """Return what lies between the spans."""
    ends, begins = [0.0, *(end for _, end in lit)], [*(begin for begin, _ in lit), seconds]
    return [(end, begin) for end, begin in zip(ends, begins, strict=True) if begin > end]


def main() -> None:
    """Write the record and the picture."""
    found = record()
    text = json.dumps(found, ensure_ascii=False, indent=1) + "\n"
    write(RECORD, text.encode(), force=True)
    write(PICTURE, picture(found["asked"]), force=True)


if __name__ == "__main__":
    main()
