"""Every method at every ratio on every item of a set, resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calibrate.errors import AudioError
from calibrate.evaluation.comparison import VANILLA, System
from calibrate.evaluation.items import Dataset, Fault, Item
from calibrate.evaluation.journal import Journal
from calibrate.evaluation.methods import Method
from calibrate.evaluation.records import Texts, record
from calibrate.evaluation.trial import Reply, Trial
from calibrate.models import Loaded
from calibrate.progress import Progress
from headrouter_core.profile import Profile
from headrouter_core.selectors import Selection


@dataclass(frozen=True)
class Plan:
    """What an evaluation varies, and what it holds fixed."""

    methods: tuple[Method, ...]
    ratios: tuple[float, ...]
    layer: int
    seed: int
    profile: Profile | None

    @property
    def systems(self) -> list[System]:
        """Vanilla, then every method at every ratio: the order of replies in a record."""
        return [VANILLA, *((m.name, ratio) for ratio in self.ratios for m in self.methods)]


def evaluate(
    loaded: Loaded, dataset: Dataset, plan: Plan, journal: Journal, progress: Progress
) -> list[Fault]:
    """Ask every item that the journal does not hold, and write what came out.

    Returns:
        Items whose audio could not be decoded or does not fit the model: these are counted and
        named, and have no replies.
    """
    with progress.stage(dataset.name, len(dataset.items)) as tick:
        for item in dataset.items:
            if item.id not in journal.lines:
                journal.write(_line(loaded, item, plan))
            tick()
    ids = {item.id for item in dataset.items}
    lines = [line for line in journal.lines.values() if line["id"] in ids]
    return [Fault(line["id"], line["task"], line["fault"]) for line in lines if line.get("fault")]


def _line(loaded: Loaded, item: Item, plan: Plan) -> dict[str, Any]:
    try:
        trial = Trial(loaded, item, plan.layer, plan.methods)
    except AudioError as error:
        return {"id": item.id, "task": item.task, "fault": str(error)}
    texts = Texts.of(item, trial)
    whole = [trial.everything()]
    (first,) = trial.ask(whole, [])
    # vanilla's own answer, given to all: what the divergence is measured on
    given = [*texts.ids, first.ids]
    (vanilla,) = trial.ask(whole, given)
    replies: dict[System, tuple[Selection, Reply]] = {VANILLA: (whole[0], vanilla)}
    for ratio in plan.ratios:
        chosen = {
            (method.name, ratio): trial.select(method, ratio, plan.profile, plan.seed)
            for method in plan.methods
        }
        for merging in (False, True):
            group = {k: v for k, v in chosen.items() if (v.states is not None) == merging}
            if group:
                said = trial.ask(list(group.values()), given)
                replies |= dict(zip(group, zip(group.values(), said, strict=True), strict=True))
    return record(trial, texts, {system: replies[system] for system in plan.systems})


def header(loaded: Loaded, datasets: Sequence[Dataset], plan: Plan, **more: Any) -> dict[str, Any]:
    """Return what makes this evaluation this one; results of another do not mix with it."""
    digest = hashlib.sha256()
    for dataset in datasets:
        for item in dataset.items:
            row = [item.id, item.task, item.prompt, item.system, item.kind, item.reference]
            digest.update(json.dumps([*row, list(item.choices)], ensure_ascii=False).encode())
    return {
        "datasets": [dataset.name for dataset in datasets],
        "items": digest.hexdigest(),
        "systems": [list(system) for system in plan.systems],
        "layer": plan.layer,
        "seed": plan.seed,
        "profile": None if plan.profile is None else plan.profile.digest,
        "model": {"id": loaded.id, "revision": loaded.revision},
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "device": loaded.device.type,
        **more,
    }
