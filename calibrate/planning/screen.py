"""What ``headrouter plan`` prints for people: on one screen, the answer first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from calibrate.planning.blueprint import Blueprint
from calibrate.planning.gpus import UTILISATION, Gpu
from calibrate.planning.lengths import Prefill
from calibrate.planning.work import Work
from calibrate.terminal.visible import one_line

WIDTH = 80
#: Most recordings that are listed; ``--json`` has all.
_LISTED = 12
_GIB = 2**30


def prefills(
    blueprint: Blueprint,
    recordings: Sequence[Prefill],
    shown: Sequence[Prefill],
    gpu: Gpu | None,
) -> str:
    """Return the answer for each recording, and what prefills take by length."""
    lines: list[str] = []
    if len(recordings) == 1:
        lines += _answer(blueprint, recordings[0], gpu)
    else:
        lines += _answers(blueprint, recordings, gpu)
    lines += ["", *_table(blueprint, recordings, shown, gpu)]
    return "\n".join(lines)


def misfits(prefill: Prefill, gpu: Gpu | None) -> list[str]:
    """Return why a recording cannot be asked about with pruning, on the GPU if one is named."""
    found = list(prefill.heard.reasons)
    pruned = prefill.peak[1].bytes
    if gpu is not None and gpu.gigabytes is not None and pruned > gpu.gigabytes * 1e9:
        found.append(
            f"its prefill peaks at {pruned / _GIB:.1f} GiB even pruned, and the {gpu.name} has"
            f" {gpu.gigabytes * 1e9 / _GIB:.1f} GiB"
        )
    return found


def _answer(blueprint: Blueprint, prefill: Prefill, gpu: Gpu | None) -> Iterator[str]:
    heard, wrong = prefill.heard, misfits(prefill, gpu)
    verdict = "DOES NOT FIT" if wrong else "fits"
    yield from wrapped(f"{one_line(heard.name)} {verdict} {blueprint.name}")
    for reason in wrong:
        yield from wrapped(f"  - {reason}", "    ")
    yield ""
    share = f"{heard.heard:,.1f} of {heard.seconds:,.1f} s"
    yield f"heard     {share}{'' if heard.heard == heard.seconds else '  <- NOT ALL'}"
    yield (
        f"tokens    {heard.audio_tokens:,} audio + {heard.text_tokens:,} text ="
        f" {heard.prompt:,} of {heard.context:,}"
    )
    yield (
        f"context   {heard.left:,} tokens left for the answer"
        if heard.left > 0
        else f"context   {-heard.left:,} tokens too many"
    )
    whole, pruned = prefill.peak
    kept = f"{heard.kept:,} audio tokens kept, {100 * prefill.saved:.0f} % fewer operations"
    cache = f"cache {_size(prefill.cache[0])} -> {_size(prefill.cache[1])}"
    yield from wrapped(f"pruned    {kept}, {cache}", " " * 10)
    peak = f"{_size(whole.bytes)} -> {_size(pruned.bytes)} at the peak"
    yield from wrapped(f"memory    {peak}{_room(prefill, gpu)}", " " * 10)


def _room(prefill: Prefill, gpu: Gpu | None) -> str:
    if gpu is None or gpu.gigabytes is None:
        return ""
    most = gpu.gigabytes * 1e9
    text = f", of {_size(most)} on {gpu.name}"
    whole, pruned = (peak.bytes <= most for peak in prefill.peak)
    return text + (": only pruned" if pruned and not whole else "")


def _answers(blueprint: Blueprint, recordings: Sequence[Prefill], gpu: Gpu | None) -> Iterator[str]:
    wrong = [prefill for prefill in recordings if misfits(prefill, gpu)]
    fit = len(recordings) - len(wrong)
    yield f"{fit} of {len(recordings)} recordings fit {blueprint.name}"
    yield ""
    yield f"{'heard, s':>10} {'of, s':>10} {'tokens':>9} {'kept':>8} {'left':>9}  recording"
    ordered = wrong + [prefill for prefill in recordings if prefill not in wrong]
    for prefill in ordered[:_LISTED]:
        heard = prefill.heard
        numbers = (
            f"{heard.heard:>10,.1f} {heard.seconds:>10,.1f} {heard.audio_tokens:>9,}"
            f" {heard.kept:>8,} {heard.left:>9,}"
        )
        name = one_line(heard.name)
        mark = "DOES NOT FIT: " if misfits(prefill, gpu) else ""
        most = WIDTH - len(numbers) - 2 - len(mark)
        yield f"{numbers}  {mark}{name if len(name) <= most else '…' + name[1 - most :]}"
    if len(ordered) > _LISTED:
        yield f"{len(ordered) - _LISTED} more: --json"
    first = next(iter(wrong), None)
    if first is not None:
        yield from wrapped(f"the first: {misfits(first, gpu)[0]}")


def _table(
    blueprint: Blueprint, recordings: Sequence[Prefill], shown: Sequence[Prefill], gpu: Gpu | None
) -> Iterator[str]:
    dtype = str(blueprint.dtype).removeprefix("torch.")
    yield f"prefill   {'audio':>9} {'TFLOP of decoder':>18} {'encoder':>8} {'peak, GiB':>18}"
    yield f"{'':9} {'tokens':>9} {'all':>9} {'pruned':>8} {'':>8} {'all':>9} {'pruned':>8}"
    rows = [(_minutes(prefill), prefill) for prefill in shown]
    if len(recordings) == 1:
        rows.append(("this", recordings[0]))
    for name, prefill in rows:
        encoder = "?" if prefill.encoder is None else _short(prefill.encoder / 1e12)
        whole, pruned = (_short(flops / 1e12) for flops in prefill.flops)
        peaks = [_short(peak.bytes / _GIB) for peak in prefill.peak]
        yield (
            f"{name:9} {prefill.heard.audio_tokens:>9,} {whole:>9} {pruned:>8} {encoder:>8}"
            f" {peaks[0]:>9} {peaks[1]:>8}{'  not heard' if prefill.heard.reasons else ''}"
        )
    last = rows[-1][1]
    yield ""
    parts = [
        f"{way} {_size(peak.weights)} of weights ({dtype}), {_size(peak.cache)} of cache,"
        f" {_size(peak.transient)} for the {peak.what}"
        for way, peak in zip(("unpruned", "pruned"), last.peak, strict=True)
    ]
    name = rows[-1][0]
    yield from wrapped(f"Peak of {name if name != 'this' else 'this one'}: {'; '.join(parts)}.")
    if gpu is not None:
        times = [f"{gpu.hours(flops) * 3600:.2g} s" for flops in last.flops]
        yield from wrapped(
            f"Its decoder's prefill on {gpu.name}: about {times[0]} unpruned, {times[1]} pruned"
            f" ({_assumed(gpu)})."
        )
    yield from _remarks(blueprint)


def works(blueprint: Blueprint, data: str, found: Sequence[Work | str], gpu: Gpu | None) -> str:
    """Return what the commands take on a set; where one cannot run, a text says why."""
    dtype = str(blueprint.dtype).removeprefix("torch.")
    done = [work for work in found if isinstance(work, Work)]
    lines = [*wrapped(f"{one_line(data)} with {blueprint.name} ({dtype})"), ""]
    head = f"on {gpu.name}" if gpu else "(--gpu)"
    lines.append(
        f"{'':10} {'items':>7} {'passes':>7} {'kept sets':>10} {'PFLOP':>10} {'answers':>9}"
        f" {'hours':>9} {head}"
    )
    for work in done:
        hours = "?" if gpu is None else f"{gpu.hours(work.flops + work.answer_flops):.2g}"
        answers = f"{work.answer_flops / 1e15:,.3g}" if work.answer_flops else "-"
        lines.append(
            f"{work.command:10} {work.items:>7,} {work.passes:>7,} {work.sets:>10,}"
            f" {work.flops / 1e15:>10,.3g} {answers:>9} {hours:>9}"
        )
    lines.append("")
    for text in found:
        if isinstance(text, str):
            lines += wrapped(text)
    for work in done:
        lines += wrapped(
            f"{work.command}: lengths of {work.measured} of {work.items} items were read, tasks in"
            f" turn: {work.seconds:.1f} s on average."
        )
        if work.unfit:
            lines += wrapped(
                f"{len(work.unfit)} OF THESE {work.measured} DO NOT FIT, the first: {work.unfit[0]}"
            )
    lines += wrapped(
        "Kept sets and answers are upper bounds: equal sets are run once, and answers end."
    )
    if gpu is not None:
        lines += wrapped(f"Hours are an estimate: {_assumed(gpu)}.")
    return "\n".join([*lines, *_remarks(blueprint)])


def _assumed(gpu: Gpu) -> str:
    return (
        f"arithmetic alone, at {100 * UTILISATION:.0f} % of {gpu.tflops:g} TFLOP/s, {gpu.source};"
        " reading, decoding audio and waiting for memory come on top"
    )


def _remarks(blueprint: Blueprint) -> Iterator[str]:
    for remark in blueprint.remarks:
        yield from wrapped(f"note: {remark}")


def _minutes(prefill: Prefill) -> str:
    return f"{prefill.heard.seconds / 60:g} min"


def _short(number: float) -> str:
    """Return a number with three digits that count."""
    return f"{number:,.0f}" if number >= 100 else f"{number:#.3g}"


def _size(number: float) -> str:
    """Return bytes for people."""
    for unit, size in (("GiB", _GIB), ("MiB", 2**20)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1024:.0f} KiB"


def wrapped(text: str, indent: str = "  ") -> list[str]:
    """Return a paragraph in lines of at most :data:`WIDTH` columns."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False)
