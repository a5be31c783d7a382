"""The results as text: tasks by methods for each ratio, as in the paper's Table 1."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.comparing.summary import FRAME, Row
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.evaluation.showing import wording
from calibrate.evaluation.showing.wording import MARKS, in_families, percent

#: Columns of a file, and least and most of a terminal.
WIDTH, NARROWEST, WIDEST = 100, 60, 140
#: Letters of a task above its column; columns of a score with its mark, and of all behind them.
_LETTERS, _CELL, _TAIL = 5, 6, 25
_MOST_FAULTS = 5

Line = Callable[[System], str]
Averages = Mapping[System, Row]


def describe(found: Results, timing: Mapping[str, Any], width: int = WIDTH) -> str:
    """Return all tables with what has to be known to read them, ``width`` columns wide."""
    width = min(max(width, NARROWEST), WIDEST)
    parts = [filled(wording.title(found), width)]
    if found.averages:
        parts += [
            *scores(found, _scored(found), found.averages, width),
            filled(f"{_legend(found)} {wording.corrections(found)}", width),
            _besides(found, *wording.besides(found)),
            filled(wording.beside(), width),
            _besides(found, *wording.costs(found, timing)),
            filled(wording.cost(timing), width),
        ]
    else:
        parts.append("Nothing here can be scored: every answer is for an outside judge.")
    return "\n\n".join([*parts, *_notes(found, width)])


def scores(
    found: Results, rows: Mapping[tuple[str, System], Row], averages: Averages, width: int
) -> Iterator[str]:
    """As many tables as the tasks of ``rows`` need, the averages in the last."""
    tasks = list(dict.fromkeys(task for task, _ in rows))
    short = _shortened(tasks)
    left = _left(found)
    most = max(1, (width - left - _TAIL) // _CELL)
    for start in range(0, len(tasks), most):
        part, last = tasks[start : start + most], start + most >= len(tasks)
        heading = "".join(f"{short[task]:>{_CELL - 1}} " for task in part)
        heading += f" {'average [95 %]':<{_TAIL - 5}} v f" if last else ""

        def line(system: System, part: Sequence[str] = part, last: bool = last) -> str:
            cells = "".join(_cell(rows[task, system]) for task in part)
            return cells + (_tail(averages, system) if last else "")

        yield _table(found, heading, line)


def _scored(found: Results) -> dict[tuple[str, System], Row]:
    tasks = set(found.scored_tasks)
    return {place: row for place, row in found.scores.items() if place[0] in tasks}


def _table(found: Results, heading: str, line: Line) -> str:
    """Vanilla on top, then a block for each ratio."""
    labels, left = wording.labels(found.methods), _left(found)
    lines = [" " * left + heading, VANILLA[0].ljust(left) + line(VANILLA)]
    for ratio in found.ratios:
        lines.append(f"ratio {ratio:g}")
        lines += [
            labels[method].ljust(left) + line((method, ratio))
            for method in in_families(found.methods)
        ]
    return "\n".join(text.rstrip() for text in lines)


def _left(found: Results) -> int:
    """Width of the first column."""
    return max(map(len, [VANILLA[0], *wording.labels(found.methods).values()]))


def _cell(row: Row) -> str:
    verdict = row.get("against_vanilla", {}).get("verdict", "tie")
    # a tie with vanilla is what a reader takes for granted: the mark is for the others
    mark = " " if verdict == "tie" else MARKS[verdict]
    return f"{percent(row['score']['value']):>{_CELL - 1}}{mark}"


def _tail(averages: Averages, system: System) -> str:
    row = averages[system]
    marks = [
        MARKS[row[key]["verdict"]] if key in row else " "
        for key in ("against_vanilla", "against_frame")
    ]
    value, interval = wording.estimate(row["percent_of_vanilla"])
    if system == VANILLA:
        return f" {value:>5}"
    return f" {value:>5} {interval:<14} {marks[0]} {marks[1]}"


def _shortened(tasks: Sequence[str]) -> dict[str, str]:
    """At most ``_LETTERS`` letters of each task, different for each."""
    short: dict[str, str] = {}
    for task in tasks:
        name, number = task[:_LETTERS], 1
        while name in short.values():
            number += 1
            name = f"{task[: _LETTERS - len(str(number))]}{number}"
        short[task] = name
    return short


def _legend(found: Results) -> str:
    short = _shortened(found.scored_tasks)
    unclear = [f"{name} is {task}" for task, name in short.items() if not task.startswith(name)]
    text = (
        f"Scores x 100: {wording.metrics(found)}. Beside them: + above and - below vanilla, ?"
        " too little data to tell, no mark: a tie. average: mean over tasks in percent of"
        " vanilla's, with its 95 % interval; v against vanilla"
    )
    if FRAME in found.methods:
        text += f", f against {FRAME} at the same ratio"
    text += ". = is a tie: the interval of the paired difference contains 0."
    return text + (f" {', '.join(unclear)}." if unclear else "")


def _besides(found: Results, titles: Sequence[str], cells: wording.Besides) -> str:
    widths = [max(6, len(title)) + 1 for title in titles]

    def line(texts: Sequence[str]) -> str:
        return "".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))

    return _table(found, line(titles), lambda system: line(cells(system)))


def _notes(found: Results, width: int) -> Iterator[str]:
    dataset = found.raw["dataset"]
    for text in (*wording.completeness(dataset), *wording.left_out(found)):
        yield filled(text, width)
    faults = [f"  {f['task']}: {f['id']}: {f['reason']}" for f in dataset["faults"]]
    if faults:
        more = len(faults) - _MOST_FAULTS
        rest = [f"  and {more} more, in results.json"] if more > 0 else []
        yield "\n".join(["Could not be asked:", *faults[:_MOST_FAULTS], *rest])


def filled(text: str, width: int) -> str:
    """Return a paragraph in lines of at most ``width`` columns."""
    return textwrap.fill(text, width, break_on_hyphens=False)
