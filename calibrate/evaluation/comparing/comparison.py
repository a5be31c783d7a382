"""Which systems differ for certain: metrics side by side, with a paired, clustered bootstrap.

A resample draws whole clusters (source clips, speakers) with replacement and computes every metric
of every system anew from the counts of what was drawn. All systems see the same draws, so that
differences are paired, and so do all tasks that share a cluster. Tasks that share none, directly or
through others, are drawn apart, each set of them with as many clusters as it has. (Smooth weights
instead of whole draws would never give a cluster weight 0, and so call certain what one cluster
makes alone.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN bounds where no interval can be given."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Of a difference: better, worse, or a tie, which is what the interval leaves open."""
        return "better" if self.low > _ROUNDING else "worse" if self.high < -_ROUNDING else "tie"

    def as_dict(self) -> dict[str, float | None]:
        """For JSON: six decimals, ``None`` for NaN."""
        named = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if np.isnan(v) else round(v, 6) for name, v in named.items()}


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
        for index, weights, clusters in _drawn(tasks, resamples, seed):
            headline = headlines[tasks[index].kind]
            for column, answers in enumerate(tasks[index].answers.values()):
                counts = headline.counts(tasks[index].references, answers)
                sums = np.zeros((weights.shape[1], *counts.shape[1:]))
                np.add.at(sums, clusters, counts)
                drawn = weights @ sums.reshape(len(sums), -1)
                self.numbers[index, column] = headline.value(drawn.reshape(-1, *sums.shape[1:]))
            if len(np.unique(clusters)) < 2:
                self.numbers[index, :, 1:] = np.nan  # one cluster tells nothing of others

    def tells(self, task: str | None) -> bool:
        """Whether a task has clusters enough for verdicts; the average over tasks always has."""
        return task is None or self._clusters[task] >= TELLING

    def score(self, task: str, system: System) -> Estimate:
        """The headline metric of a task; 1 is perfect."""
        return _estimate(self._of(task, system))

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

    def _of(self, task: str, system: System) -> np.ndarray:
        found: np.ndarray = self.numbers[self.tasks.index(task), self.systems.index(system)]
        return found

    def _percent(self, system: System) -> np.ndarray:
        mean = self.numbers.mean(axis=0)
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
        lengths = {len(answers) for answers in task.answers.values()}
        if lengths | {len(task.clusters)} != {len(task.references)} or not task.references:
            raise ValueError(f"{task.task}: references, clusters and answers differ in number")


def _drawn(
    tasks: Sequence[TaskAnswers], resamples: int, seed: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Draw clusters for each set of tasks that hang together.

    Yields:
        The number of a task; how often each cluster of its set is taken, float [1 + B, C], once
        for what was measured, then as drawn; and the cluster of each sample, int [n].
    """
    rng = np.random.default_rng(seed)
    component = components([set(task.clusters) for task in tasks])
    for number in dict.fromkeys(component.tolist()):
        together = np.flatnonzero(component == number).tolist()
        names = sorted({name for index in together for name in tasks[index].clusters})
        position = {name: place for place, name in enumerate(names)}
        equal = np.full(len(names), 1 / len(names))
        drawn = rng.multinomial(len(names), equal, size=resamples)
        weights = np.vstack([np.ones(len(names)), drawn])
        for index in together:
            yield index, weights, np.array([position[name] for name in tasks[index].clusters])


def _estimate(numbers: np.ndarray) -> Estimate:
    """A value [0] with the percentile interval over the resamples [1:] that define it."""
    value, draws = float(numbers[0]), numbers[1:]
    defined = draws[~np.isnan(draws)]
    if len(defined) < _DEFINED * len(draws) or np.isnan(value):
        return Estimate(value, np.nan, np.nan)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value, float(low), float(high))
