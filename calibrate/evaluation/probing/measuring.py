"""What is lost before any answer: probes on the states that enter the pruning layer.

The audio states of an item are averaged, over all tokens and over those that each method keeps (as
it merged them), and simple classifiers are asked for the item's label.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from calibrate.evaluation.asking.run import Plan
from calibrate.evaluation.asking.trial import Trial
from calibrate.evaluation.comparing.comparison import Comparison, TaskAnswers
from calibrate.evaluation.comparing.summary import Row, against
from calibrate.evaluation.probing.classifiers import FOLDS, PROBES, crossed
from calibrate.evaluation.scoring.items import CHOICE, LABEL, Item, letters
from calibrate.evaluation.scoring.metrics import ACCURACY
from calibrate.evaluation.scoring.systems import System
from calibrate.models.named import Loaded
from calibrate.terminal.progress import Progress

SCHEMA = 1


def measure(
    loaded: Loaded, items: Sequence[Item], plan: Plan, progress: Progress
) -> dict[str, Any]:
    """Probe what every system keeps of ``items``, all of which can be asked.

    Returns:
        JSON-ready. ``tasks``: items, classes and clusters of each that was probed, and the share
        of its most frequent class. ``skipped``: the others, each with its reason. ``scores``: a
        row a probe, task and system; ``averages``: a row a probe and system, of the mean over
        tasks in percent of vanilla's. Differences from vanilla (all tokens) and from Frame are
        paired, by speaker and clip.

    Raises:
        HeadRouterError: scikit-learn is not installed.
    """
    tasks: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        tasks[item.task].append(item)
    probed, skipped = {}, {}
    for task, members in tasks.items():
        if reason := _obstacle(members):
            skipped[task] = reason
        else:
            probed[task] = members
    answers: dict[str, list[TaskAnswers]] = defaultdict(list)
    with progress.stage("Probing", sum(map(len, probed.values()))) as tick:
        for task, members in probed.items():
            rows = []
            for item in members:
                rows.append(_pooled(loaded, item, plan))
                tick()
            states = torch.stack(rows, dim=1)
            for name in PROBES:
                answers[name].append(_answers(name, task, members, states, plan))
    compared = {name: Comparison(rows, headlines=ACCURACY) for name, rows in answers.items()}
    return {
        "schema": SCHEMA,
        "metric": "accuracy",
        "layer": plan.layer,
        "folds": FOLDS,
        "tasks": {task: _facts(members) for task, members in probed.items()},
        "skipped": skipped,
        "scores": [
            {"probe": name, "task": task, **_row(compared[name], system, task)}
            for name in compared
            for task in probed
            for system in plan.systems
        ],
        "averages": [
            {"probe": name, **_row(compared[name], system, None)}
            for name in compared
            for system in plan.systems
        ],
    }


def _obstacle(items: Sequence[Item]) -> str | None:
    """Why no classifier can be trained on a task, if so."""
    if any(item.kind not in (CHOICE, LABEL) for item in items):
        return "its answers are no labels"
    if any(item.labels == letters(item.choices) for item in items if item.kind == CHOICE):
        return "its options differ from item to item, so that its letters are no classes"
    clusters: dict[str, set[str]] = defaultdict(set)
    for item in items:
        clusters[item.reference].add(item.cluster)
    several = [label for label, names in clusters.items() if len(names) > 1]
    if len(several) < 2:
        return "fewer than two of its labels are of more than one speaker or clip"
    return None


@torch.inference_mode()
def _pooled(loaded: Loaded, item: Item, plan: Plan) -> torch.Tensor:
    """Mean states float32 [S, D] of an item's audio tokens, in the order of ``plan.systems``."""
    trial = Trial(loaded, item, plan.layer, plan.methods)
    states = [trial.states(trial.everything())]
    for ratio in plan.ratios:
        for method in plan.methods:
            heard = trial
            if method.shortening is not None:
                heard = trial.hearing(trial.shortened(method, ratio))
            kept = heard.select(method, ratio, plan.profile, plan.seed, trial.audio_tokens)
            states.append(heard.states(kept))
    return torch.stack([kept.float().mean(0).cpu() for kept in states])


def _answers(
    name: str, task: str, items: Sequence[Item], states: torch.Tensor, plan: Plan
) -> TaskAnswers:
    """What a probe says of a task's items, by the states [S, n, D] of each system."""
    labels = sorted({item.reference for item in items})
    classes = [labels.index(item.reference) for item in items]
    clusters = [item.cluster for item in items]
    found = crossed(PROBES[name], states, classes, clusters, plan.seed).tolist()
    said = {
        system: [labels[index] for index in row]
        for system, row in zip(plan.systems, found, strict=True)
    }
    backgrounds = [item.background for item in items]
    return TaskAnswers(task, LABEL, [item.reference for item in items], clusters, said, backgrounds)


def _facts(items: Sequence[Item]) -> dict[str, Any]:
    counts = Counter(item.reference for item in items)
    return {
        "group": items[0].group,
        "items": len(items),
        "classes": len(counts),
        "clusters": len({item.cluster for item in items}),
        "most_frequent": round(max(counts.values()) / len(items), 6),
    }


def _row(compared: Comparison, system: System, task: str | None) -> Row:
    """One system, on a task or on average."""
    row: Row = {"method": system[0], "ratio": system[1]}
    if task is None:
        row["percent_of_vanilla"] = compared.average(system).as_dict()
    else:
        row["score"] = compared.score(task, system).as_dict()
    return row | against(compared, system, task)
