"""Which systems differ for certain: metrics side by side, with a paired, clustered bootstrap.

A resample draws whole clusters (source clips, speakers) with replacement and computes every metric
of every system anew from the counts of what was drawn. All systems see the same draws, so that
differences are paired, and so do all tasks that share a cluster. Tasks that share none, directly or
through others, are drawn apart, each set of them with as many clusters as it has. Background clips
are drawn too, and a sample weighs the product; see :mod:`calibrate.estimation.choosing.intervals`.
(Smooth weights instead of whole draws would never give a cluster weight 0, and so call certain what
one cluster makes alone.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from calibrate.estimation.choosing.intervals import interval, numbered
from calibrate.evaluation.scoring.clusters import components
from calibrate.evaluation.scoring.metrics import HEADLINES, Answers, Headline
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.inspection.worth import TELLING

RESAMPLES = 2000
#: Share of resamples in which a value has to be defined for an interval to be given.
_DEFINED = 0.5
#: Equal metrics that were summed in another order differ by less.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class TaskAnswers:
    """What all systems answered to the items of one task."""

    task: str
    kind: str
    references: Sequence[str]
    clusters: Sequence[str]
    """Source clip or speaker of each item."""
    answers: Mapping[System, Answers]
    """Each system's parsed answers, one an item and in the same order, ``None`` unparsed."""
    backgrounds: Sequence[str] = ()
    """The clip behind each item; empty where it has none, or none but its cluster."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN bounds where no interval can be given."""

    value: float
    low: float
    high: float
    p: float = field(default=np.nan, compare=False)
    """Of a difference: how likely one so far from 0 is by chance."""

    @property
    def verdict(self) -> str:
        """Of a difference: better, worse, or a tie, which is what the interval leaves open."""
        return "better" if self.low > _ROUNDING else "worse" if self.high < -_ROUNDING else "tie"

    def as_dict(self) -> dict[str, float | None]:
        """For JSON: six decimals, ``None`` for NaN."""
        named = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if np.isnan(v) else round(v, 6) for name, v in named.items()}


@dataclass(frozen=True)
class _Numbers:
    """A metric as measured, of every resample, and without each cluster."""

    all: np.ndarray
    """[1 + B]: as measured, then of each resample; NaN where that drew nothing of the task."""
    without: Mapping[int, np.ndarray]
    """Number of a factor -> the metric without each of its clusters [C]."""

    def __sub__(self, other: _Numbers) -> _Numbers:
        without = {name: row - other.without[name] for name, row in self.without.items()}
        return _Numbers(self.all - other.all, without)


class Comparison:
    """The headline metric of every task and system, and of every resample.

    Args:
        tasks: the answers of each task, every one with the same systems, ``VANILLA`` among them.
        resamples: number of bootstrap resamples B.
        seed: of the draws.
        headlines: kind of item -> its metric.

    Raises:
        ValueError: no task, two of one name, a kind without a metric, other systems, or counts of
            answers that differ.
    """

    def __init__(
        self,
        tasks: Sequence[TaskAnswers],
        resamples: int = RESAMPLES,
        seed: int = 0,
        headlines: Mapping[str, Headline] = HEADLINES,
    ) -> None:
        _check(tasks, headlines)
        self.tasks = tuple(task.task for task in tasks)
        self._clusters = {task.task: len(set(task.clusters)) for task in tasks}
        self.systems = tuple(tasks[0].answers)
        self.numbers = np.empty((len(tasks), len(self.systems), 1 + resamples))
        """[T, S, 1 + B]: what was measured, then the same of each resample; NaN where a resample
        drew nothing of the task."""
        factors = _factors(tasks)
        drawn = _drawn(factors, resamples, seed)
        self._without = [np.empty((*self.numbers.shape[:2], factor.count)) for factor in factors]
        """Of each factor [T, S, C]: the metrics without each cluster."""
        self._inside = [factor.inside for factor in factors]
        for index, task in enumerate(tasks):
            headline = headlines[task.kind]
            taken = np.ones((1 + resamples, len(task.references)))
            for factor, rows in zip(factors, drawn, strict=True):
                owner = factor.owners[index]
                taken[1:, owner >= 0] *= rows[:, owner[owner >= 0]]
            for column, answers in enumerate(task.answers.values()):
                counts = headline.counts(task.references, answers)
                sums = taken @ counts.reshape(len(counts), -1)
                self.numbers[index, column] = headline.value(sums.reshape(-1, *counts.shape[1:]))
                for factor, rows in zip(factors, self._without, strict=True):
                    rows[index, column] = factor.without(index, counts, headline)
            if self._clusters[task.task] < 2:
                self.numbers[index, :, 1:] = np.nan  # one cluster tells nothing of others

    def tells(self, task: str | None) -> bool:
        """Whether a task has clusters enough for verdicts; the average over tasks always has."""
        return task is None or self._clusters[task] >= TELLING

    def score(self, task: str, system: System) -> Estimate:
        """The headline metric of a task; 1 is perfect, and no interval goes beyond.

        Nor below 0, which only word accuracy does.
        """
        numbers = self._of(task, system)
        found = _estimate(numbers)
        if np.isnan(found.low):
            return found
        least = min(0.0, float(np.nanmin(numbers.all)))
        return replace(found, low=max(found.low, least), high=min(found.high, 1.0))

    def average(self, system: System) -> Estimate:
        """The mean over tasks, in percent of vanilla's mean over the same tasks.

        NaN where vanilla's mean is 0 or less: a share of nothing means nothing. No interval where a
        task has one cluster only.
        """
        return _estimate(self._percent(system))

    def difference(self, system: System, rival: System, task: str | None = None) -> Estimate:
        """``system`` minus ``rival``, paired.

        Of the averages, in points of percent; with ``task`` of its metric, in units of that.
        """
        if task is None:
            return _estimate(self._percent(system) - self._percent(rival))
        return _estimate(self._of(task, system) - self._of(task, rival))

    def _of(self, task: str, system: System) -> _Numbers:
        place = self.tasks.index(task), self.systems.index(system)
        without = {
            number: rows[place][inside[place[0]]]
            for number, (rows, inside) in enumerate(zip(self._without, self._inside, strict=True))
        }
        return _Numbers(self.numbers[place], without)

    def _percent(self, system: System) -> _Numbers:
        without = {n: self._share(rows, system) for n, rows in enumerate(self._without)}
        return _Numbers(self._share(self.numbers, system), without)

    def _share(self, numbers: np.ndarray, system: System) -> np.ndarray:
        mean = numbers.mean(axis=0)
        vanilla = mean[self.systems.index(VANILLA)]
        percent: np.ndarray = np.full_like(vanilla, np.nan)
        np.divide(100 * mean[self.systems.index(system)], vanilla, out=percent, where=vanilla > 0)
        return percent


def _check(tasks: Sequence[TaskAnswers], headlines: Mapping[str, Headline]) -> None:
    if not tasks or len({task.task for task in tasks}) < len(tasks):
        raise ValueError("a comparison needs at least one task, and each by a name of its own")
    systems = list(tasks[0].answers)
    if VANILLA not in systems:
        raise ValueError(f"vanilla {VANILLA} is missing among the systems {systems}")
    for task in tasks:
        if task.kind not in headlines:
            raise ValueError(f"{task.task}: {task.kind} answers have no metric here")
        if list(task.answers) != systems:
            raise ValueError(f"{task.task} has the systems {list(task.answers)}, not {systems}")
        lengths = {len(answers) for answers in task.answers.values()} | {len(task.clusters)}
        lengths |= {len(task.backgrounds)} if task.backgrounds else set()
        if lengths != {len(task.references)} or not task.references:
            raise ValueError(f"{task.task}: references, clusters and answers differ in number")


@dataclass(frozen=True)
class _Factor:
    """One way in which samples hang together."""

    owners: list[np.ndarray]
    """Of each task, the cluster of each sample, int [n]; -1 where it has none."""
    count: int

    @property
    def inside(self) -> list[np.ndarray]:
        """Of each task, which clusters it has, bool [C]."""
        return [np.isin(np.arange(self.count), owner) for owner in self.owners]

    def without(self, task: int, counts: np.ndarray, headline: Headline) -> np.ndarray:
        """A task's metric without each cluster [C]; that of all where nothing would be left."""
        owner = self.owners[task]
        sums = np.zeros((self.count, *counts.shape[1:]))
        np.add.at(sums, owner[owner >= 0], counts[owner >= 0])
        whole = counts.sum(axis=0)
        found = headline.value(whole - sums)
        return np.where(np.isnan(found), headline.value(whole[None]), found)


def _factors(tasks: Sequence[TaskAnswers]) -> list[_Factor]:
    """The clusters of each set of tasks that hang together, then the background clips of all."""
    component = components([set(task.clusters) for task in tasks])
    factors = []
    for number in dict.fromkeys(component.tolist()):
        rows = [
            task.clusters if component[index] == number else [""] * len(task.clusters)
            for index, task in enumerate(tasks)
        ]
        factors.append(_factor(rows))
    behind = [task.backgrounds or [""] * len(task.clusters) for task in tasks]
    return [*factors, _factor(behind)] if any(map(any, behind)) else factors


def _factor(rows: Sequence[Sequence[str]]) -> _Factor:
    owner = numbered([name for row in rows for name in row])
    edges = np.cumsum([len(row) for row in rows])[:-1]
    return _Factor(np.split(owner, edges), int(owner.max()) + 1)


def _drawn(factors: Sequence[_Factor], resamples: int, seed: int) -> list[np.ndarray]:
    """How often each cluster of each factor is taken, [B, C]."""
    rng = np.random.default_rng(seed)
    return [
        rng.multinomial(factor.count, np.full(factor.count, 1 / factor.count), size=resamples)
        for factor in factors
    ]


def _estimate(numbers: _Numbers) -> Estimate:
    """A value with its interval over the resamples that define it."""
    value, draws = float(numbers.all[0]), numbers.all[1:]
    defined = draws[~np.isnan(draws)]
    if len(defined) < _DEFINED * len(draws) or np.isnan(value):
        return Estimate(value, np.nan, np.nan)
    without = [row[~np.isnan(row)] for row in numbers.without.values()]
    found = interval(value, defined, without)
    return Estimate(value, found.low, found.high, found.p)
