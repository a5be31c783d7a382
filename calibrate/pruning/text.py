"""What ``headrouter prune`` prints for people."""

from __future__ import annotations

import shutil
import sys

from calibrate.models.asking import Answer
from calibrate.pruning.result import Result
from calibrate.sound.timeline import axis, bar
from calibrate.terminal.visible import one_line

#: Longest spans that are listed.
_SPANS = 3


def describe(result: Result, heading: bool = False) -> str:
    """Return the answer, and below it counts, routing, times and a timeline as text.

    Args:
        result: of one recording.
        heading: whether the recording is named first, as where there are several.
    """
    entry, kept = result.entry, len(result.kept)
    same = result.answer == result.answer_unpruned
    lines = [
        *([one_line(str(result.file))] if heading else []),
        f"answer    {_quoted(result.answer)}",
        f"unpruned  {'the same' if same else _quoted(result.answer_unpruned)}",
        f"question  {one_line(result.question)}",
        "",
        f"kept      {kept} of {entry.audio_tokens} audio tokens"
        f" ({100 * kept / entry.audio_tokens:.1f} %) of {result.seconds:.2f} s",
        f"method    {result.method}, ratio {result.ratio:g}, from layer {result.layer} on",
    ]
    if result.mixing is not None:
        mixing = ", ".join(f"{name} {part:.2f}" for name, part in result.mixing.items())
        lines.append(f"routing   spread {result.spread:.4f}: {mixing}")
    lines += [
        f"prefill   {result.prefill_seconds:.3g} s pruned,"
        f" {result.prefill_seconds_unpruned:.3g} s unpruned",
        f"          (encoder and decoder; medians of {result.prefill_runs} warm runs, in turn)",
    ]
    return "\n".join(lines + _timeline(result))


def _timeline(result: Result) -> list[str]:
    width = max(20, min(shutil.get_terminal_size().columns, 160))
    encoding = sys.stdout.encoding or "ascii"
    drawn = bar(result.kept, result.entry.audio_tokens, width, encoding)
    # some families pad audio, and the padding has tokens too
    tokens = result.entry.audio_tokens * result.loaded.frontend.seconds_per_token
    marks = axis(max(result.seconds, tokens), len(drawn))
    return ["", drawn, marks, _listed(result)]


def _listed(result: Result) -> str:
    """Return the longest kept spans in their order, and how many more there are."""
    spans = result.spans
    longest = sorted(spans, key=lambda span: span[0] - span[1])[:_SPANS]
    text = ", ".join(f"{begin:.2f}-{end:.2f}" for begin, end in sorted(longest))
    if len(longest) < len(spans):
        return f"kept longest: {text} s ({len(spans) - len(longest)} more: --json)"
    return f"kept: {text} s"


def _quoted(answer: Answer) -> str:
    text = " ".join(answer.text.split()) or "(nothing)"
    return text if answer.complete else f"{text} … (cut at --max-new-tokens)"
