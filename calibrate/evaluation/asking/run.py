"""Every method at every ratio on every item of a set, resumable."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from calibrate.estimation.samples.known import Known
from calibrate.evaluation.asking.methods import Method
from calibrate.evaluation.asking.records import SCHEMA, Texts, record
from calibrate.evaluation.asking.replies import Reply
from calibrate.evaluation.asking.trial import Trial, recordings
from calibrate.evaluation.scoring.answers import NORMALISED_BY
from calibrate.evaluation.scoring.items import Dataset, Fault, Item
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.models.named import Loaded
from calibrate.running.journal import Journal
from calibrate.sound.reading import DECODER
from calibrate.terminal.console import say
from calibrate.terminal.errors import AudioError
from calibrate.terminal.progress import Progress
from headrouter_core import __version__, families
from headrouter_core.errors import NonFiniteError, PruningError, SelectionError, UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.selectors import Selection

#: Why an item is left out.
SEEN = "the profile was calibrated on it (--keep-calibration-items asks it all the same)"

_LIBRARIES = ("torch", "transformers", "numpy", "tokenizers", "jiwer")


@dataclass(frozen=True)
class Plan:
    """What an evaluation varies, and what it holds fixed."""

    methods: tuple[Method, ...]
    ratios: tuple[float, ...]
    layer: int
    seed: int
    profile: Profile | None
    keep_seen: bool = False
    """Whether items that the profile was calibrated on are asked all the same, and marked."""

    @property
    def systems(self) -> list[System]:
        """Vanilla, then every method at every ratio: the order of replies in a record."""
        return [VANILLA, *((m.name, ratio) for ratio in self.ratios for m in self.methods)]

    @property
    def text_tokens(self) -> str:
        """Whose queries the recorded selectivity is of."""
        return "all" if self.profile is None else self.profile.recipe.text_tokens


def evaluate(
    loaded: Loaded, dataset: Dataset, plan: Plan, journal: Journal, progress: Progress
) -> list[Fault]:
    """Ask every item that the journal does not hold, and write what came out.

    Returns:
        Items that cannot be asked, as where the audio cannot be decoded or does not fit the model:
        these are counted and named, and have no replies. The next run tries them again.
    """
    todo = [item for item in dataset.items if not is_done(journal.lines.get(item.id, {}))]
    if todo:
        known = Known.of(plan.profile)
        if known is None and plan.profile is not None:
            say("the profile does not tell what it was calibrated on: make sure it is nothing here")
        with progress.stage(dataset.name, len(todo)) as tick:
            for item in todo:
                line = _line(loaded, item, plan, known)
                if journal.lines.get(item.id) != line:
                    journal.write(line)
                tick()
    lines = [journal.lines[item.id] for item in dataset.items]
    return [Fault(line["id"], line["task"], line["fault"]) for line in lines if "fault" in line]


def is_done(line: dict[str, Any]) -> bool:
    """Whether a line of the journal says all that there is to say of its item."""
    return "replies" in line or "excluded" in line


def without_seen(dataset: Dataset, journal: Journal) -> Dataset:
    """Return the set without the items that were left out."""
    lines = [journal.lines.get(item.id, {}) for item in dataset.items]
    excluded = [Fault(at["id"], at["task"], at["excluded"]) for at in lines if "excluded" in at]
    items = [item for item, at in zip(dataset.items, lines, strict=True) if "excluded" not in at]
    return replace(dataset, items=tuple(items), excluded=(*dataset.excluded, *excluded))


def _line(loaded: Loaded, item: Item, plan: Plan, known: Known | None) -> dict[str, Any]:
    try:
        audios = recordings(loaded, item)
        rate = loaded.frontend.sample_rate
        seen = known is not None and known.holds(item.prompt, audios, rate)
        if seen and not plan.keep_seen:
            return {"id": item.id, "task": item.task, "excluded": SEEN}
        line = _asked(Trial(loaded, item, plan.layer, plan.methods, audios), plan)
        return {**line, "seen": True} if seen else line
    except SelectionError:
        raise  # the method is at fault, not the item
    except (AudioError, NonFiniteError, PruningError, UsageError) as error:
        if isinstance(error, NonFiniteError) and error.weight is not None:
            raise  # the model is
        return {"id": item.id, "task": item.task, "fault": str(error)}


def _asked(trial: Trial, plan: Plan) -> dict[str, Any]:
    texts = Texts.of(trial.item, trial)
    whole = trial.everything()
    (vanilla,) = trial.ask([whole], texts.ids, echo=True)
    # vanilla's own answer, given to all: what the divergence is measured on
    given = [*texts.ids, vanilla.ids]
    replies: dict[System, tuple[Selection, Reply]] = {VANILLA: (whole, vanilla)}
    shorter = _Shorter(trial, plan, given)
    for ratio in plan.ratios:
        pruned = _pruned(trial, plan, ratio, given)
        for method in plan.methods:
            replies[method.name, ratio] = (
                pruned[method.name] if method.shortening is None else shorter.reply(method, ratio)
            )
    return record(trial, texts, replies, plan.text_tokens)


def _pruned(
    trial: Trial, plan: Plan, ratio: float, given: Sequence[torch.Tensor]
) -> dict[str, tuple[Selection, Reply]]:
    """Return what methods that hear the whole recording keep and say, by name."""
    methods = [method for method in plan.methods if method.shortening is None]
    if not methods:
        return {}
    chosen = [trial.select(m, ratio, plan.profile, plan.seed) for m in methods]
    different, numbers = _different(chosen)
    said = trial.ask(different, given)
    return {
        method.name: (selection, said[number])
        for method, selection, number in zip(methods, chosen, numbers, strict=True)
    }


class _Shorter:
    """Replies of methods that shorten the recording; what sounds the same is asked once."""

    def __init__(self, trial: Trial, plan: Plan, given: Sequence[torch.Tensor]) -> None:
        self._trial, self._plan, self._given = trial, plan, given
        self._replies: dict[tuple[Any, ...], tuple[Selection, Reply]] = {}

    def reply(self, method: Method, ratio: float) -> tuple[Selection, Reply]:
        """Return what a method keeps of what it leaves of the recording, and what is said of it."""
        plan = self._plan
        audios = self._trial.shortened(method, ratio)
        # without pruning all that is heard is kept
        key = (*(audio.tobytes() for audio in audios), ratio if method.prunes else None)
        if key not in self._replies:
            trial = self._trial.hearing(audios)
            tokens = self._trial.audio_tokens
            selection = trial.select(method, ratio, plan.profile, plan.seed, tokens)
            (said,) = trial.ask([selection], self._given)
            self._replies[key] = selection, said
        return self._replies[key]


def _different(chosen: Sequence[Selection]) -> tuple[list[Selection], list[int]]:
    """Return selections that keep the same tokens in the same states once, and each one's number.

    Methods often agree, and what they agree on need not be asked twice.
    """
    different: list[Selection] = []
    places: dict[tuple[int, ...], int] = {}
    numbers = []
    for selection in chosen:
        key = tuple(selection.kept.tolist())
        if selection.states is not None or key not in places:
            numbers.append(len(different))
            different.append(selection)
        else:
            numbers.append(places[key])
        if selection.states is None:
            places.setdefault(key, numbers[-1])
    return different, numbers


def header(loaded: Loaded, dataset: Dataset, plan: Plan) -> dict[str, Any]:
    """Return what makes this evaluation this one; results of another do not mix with it."""
    info = families.model_info(loaded.model, plan.layer)
    profile = plan.profile
    return {
        "schema": SCHEMA,
        "dataset": dataset.name,
        "items": {"number": len(dataset.items), "digest": _digest(dataset)},
        "methods": {method.name: method.settings for method in plan.methods},
        "ratios": list(plan.ratios),
        "layer": plan.layer,
        "seed": plan.seed,
        "keep_calibration_items": plan.keep_seen,
        "model": {
            "id": loaded.id,
            "revision": loaded.revision,
            **{name: getattr(info, name) for name in ("family", "layers", "heads", "fingerprint")},
        },
        "profile": None
        if profile is None
        else {
            "model": profile.model.id,
            "digest": profile.digest,
            "recipe": profile.recipe.to_dict(),
        },
        "device": loaded.device.type,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "attention": str(loaded.model.config._attn_implementation),
        "decoder": DECODER,
        "normalisers": NORMALISED_BY,
        "versions": {
            "headrouter": __version__,
            **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        },
    }


def _digest(dataset: Dataset) -> str:
    """Return the sha256 of all that is asked, in which order, and how it is scored."""
    digest = hashlib.sha256()
    for item in dataset.items:
        row = (
            *(item.id, item.task, item.group, item.kind, item.cluster, item.background),
            *(item.system, item.prompt),
            *(item.reference, item.choices, item.labels, item.max_new_tokens),
        )
        digest.update(json.dumps(row, ensure_ascii=False).encode())
    return digest.hexdigest()
