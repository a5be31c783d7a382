"""What calibrating and evaluating on a set takes: passes, kept sets and operations.

Whole passes run the model once on an item, unpruned; for each kept set the layers from M on run on
what is kept. Methods that shorten the recording take a pass each, of what is left of it. Both
commands run equal sets once, so both counts are upper bounds. Lengths are read of some items, tasks
in turn, and stand for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calibrate.commands.calibrate import Calibrate
from calibrate.commands.evaluate import Evaluate
from calibrate.estimation.ablation import KINDS, head_variants
from calibrate.estimation.calibration import REPORTED
from calibrate.estimation.choosing.choices import EXPONENTS, ROUTES, TEXTS
from calibrate.estimation.choosing.fitting import BANDWIDTH_FACTORS
from calibrate.estimation.choosing.material import candidates
from calibrate.estimation.choosing.segmenting import PATH
from calibrate.estimation.samples.sample import (
    Sample,
    manifest_samples,
    other_lengths,
    shipped_samples,
)
from calibrate.estimation.samples.usable import check_samples, limited
from calibrate.evaluation.asking.methods import METHODS as COMPARED
from calibrate.evaluation.asking.shorter import Shortening
from calibrate.evaluation.datasets.development import development_samples
from calibrate.evaluation.datasets.sources import SCENES, in_turn, read_data
from calibrate.evaluation.scoring.items import JUDGED, TRANSCRIPT, Dataset, Item
from calibrate.planning.blueprint import Blueprint
from calibrate.planning.costs import Costs
from calibrate.planning.encoder import Encoder
from calibrate.planning.hearing import Heard, read_prompt, weigh
from calibrate.sound.reading import SAMPLE_RATE
from calibrate.terminal.errors import AudioError
from calibrate.terminal.ratios import parse_ratios
from headrouter_core.errors import UsageError
from headrouter_core.scoring import keep_count

#: How many items' lengths are read.
MEASURED = 24


@dataclass(frozen=True)
class Work:
    """What one command takes on one set."""

    command: str
    items: int
    passes: int
    """Whole passes of the model, at most."""
    sets: int
    """Kept sets, at most."""
    flops: float
    """Of both, encoder included where it is counted."""
    answer_flops: float
    """Of the answers, token by token, at most; none in a calibration."""
    measured: int
    """Items whose length was read."""
    seconds: float
    """Mean length of these."""
    unfit: tuple[str, ...]
    """Of these, what is wrong with each that would be refused or cannot be read."""

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints of it, without hours."""
        return {
            "items": self.items,
            "passes": self.passes,
            "kept_sets_at_most": self.sets,
            "flops": self.flops,
            "answer_flops_at_most": self.answer_flops,
            "items_measured": self.measured,
            "mean_seconds": round(self.seconds, 3),
            "unfit": list(self.unfit),
        }


@dataclass(frozen=True)
class Question:
    """One item in numbers."""

    heard: Heard
    answer: int
    """Tokens of the reference answer, or most tokens of an answer."""
    texts: int
    """Texts whose likelihood is asked for beside the answer."""


class Pricing:
    """What passes and kept sets of one model take."""

    def __init__(self, blueprint: Blueprint, layer: int) -> None:
        self.blueprint = blueprint
        self.costs = Costs.of(blueprint)
        self.encoder = Encoder.of(blueprint)
        self.layer = layer
        self.heads = blueprint.anatomy.attentions[layer - 1].queries.heads

    def whole(self, question: Question, behind: int = 0) -> int:
        """Return the operations of one unpruned pass, ``behind`` tokens after the prompt."""
        columns = question.heard.prompt + behind
        encoder = self.encoder.flops(question.heard.seconds) if self.encoder else 0
        depth = len(self.costs.layers)
        return self.costs.flops([columns] * depth) + encoder

    def later(self, question: Question, ratio: float, behind: int, logits: int) -> int:
        """Return the operations of one kept set."""
        kept = keep_count(question.heard.audio_tokens, ratio)
        columns = question.heard.text_tokens + kept + behind
        return self.costs.later_flops(columns, self.layer, logits)


def calibration_sets(heads: int, ratios: int) -> tuple[int, int]:
    """Return the kept sets of a sample that choices are made on, and of one of the report.

    Those of routing and of the report hold one more: the vector of the true group.
    """
    chosen = (
        len(head_variants(heads))
        + len(candidates(KINDS))
        + len(EXPONENTS) * len(TEXTS)
        + len(BANDWIDTH_FACTORS)
        + len(ROUTES)
        + len(PATH)
    )
    frame_and_segments = 2
    return ratios * chosen, 1 + ratios * (len(ROUTES) + 1 + frame_and_segments)


def calibration(pricing: Pricing, data: str, ratio: float | None) -> Work:
    """Return what ``headrouter calibrate`` takes.

    Raises:
        UsageError: it could not be calibrated on.
    """
    ratios = parse_ratios(Calibrate.ratios) if ratio is None else (ratio,)
    if data == SCENES:
        samples = shipped_samples(Calibrate.per_category, report=REPORTED) + other_lengths()
    else:
        drawn = development_samples(data, Calibrate.per_category, report=REPORTED)
        if drawn is None:
            drawn = manifest_samples(Path(data), Calibrate.per_category, report=REPORTED)
        samples = drawn
    check_samples(samples)
    frontend = pricing.blueprint.frontend
    asked, unfit = [], []
    some = limited(samples, MEASURED)
    for sample in some:
        try:
            heard = _heard(pricing, sample.id, [len(sample.read())], sample.prompt, sample.system)
        except (AudioError, UsageError) as error:
            unfit.append(f"{sample.id}: {error}")
            continue
        unfit += [f"{sample.id}: {reason}" for reason in heard.reasons[:1]]
        if not heard.reasons:
            asked.append(Question(heard, len(frontend.answer_ids(sample.answer)), 0))
    chosen, reported = _split(samples)
    sets = calibration_sets(pricing.heads, len(ratios))

    def price(question: Question) -> float:
        behind = question.answer
        whole = len(samples) * pricing.whole(question, behind)
        pruned = [pricing.later(question, r, behind, behind) for r in ratios]
        each = (chosen * sets[0] + reported * (sets[1] - 1)) / len(ratios)
        unpruned = reported * pricing.later(question, 0, behind, behind)
        return whole + each * sum(pruned) + unpruned

    return Work(
        command="calibrate",
        items=len(samples),
        passes=len(samples),
        sets=chosen * sets[0] + reported * sets[1],
        flops=_mean([price(question) for question in asked]),
        answer_flops=0.0,
        measured=len(some),
        seconds=_mean([question.heard.seconds for question in asked]),
        unfit=tuple(unfit),
    )


def evaluation(pricing: Pricing, data: str, ratio: float | None) -> Work:
    """Return what ``headrouter evaluate`` takes, its timed runs aside.

    Raises:
        UsageError: no such set, or one that cannot be read.
    """
    ratios = parse_ratios(Evaluate.ratios) if ratio is None else (ratio,)
    dataset: Dataset = read_data(data)
    if not dataset.items:
        raise UsageError(f"{data} holds no item that could be asked")
    asked, unfit = [], []
    some = in_turn(dataset.items, MEASURED)
    for item in some:
        try:
            lengths = [len(audio) for audio in item.read()]
            heard = _heard(pricing, item.id, lengths, item.prompt, item.system)
        except (AudioError, UsageError) as error:
            unfit.append(f"{item.id}: {error}")
            continue
        unfit += [f"{item.id}: {reason}" for reason in heard.reasons[:1]]
        if not heard.reasons:
            asked.append(Question(heard, item.max_new_tokens, _texts(item)))
    number, methods = len(dataset.items), len(COMPARED)
    shorter = [method.shortening for method in COMPARED.values() if method.shortening is not None]

    def price(question: Question) -> float:
        pruned = sum(pricing.later(question, r, 0, 1) for r in ratios)
        heard = sum(pricing.whole(_shortened(question, s, r)) for s in shorter for r in ratios)
        whole = pricing.whole(question) + pricing.later(question, 0, 0, 1)
        return whole + heard + methods * pruned

    def answers(question: Question) -> float:
        # beside the answer a row for each text, and for what vanilla said
        vanilla = (1 + question.texts) * _steps(pricing, question, 0)
        each = (2 + question.texts) * sum(_steps(pricing, question, r) for r in ratios)
        return vanilla + methods * each

    return Work(
        command="evaluate",
        items=number,
        passes=number * (1 + len(shorter) * len(ratios)),
        sets=number * (1 + methods * len(ratios)),
        flops=number * _mean([price(question) for question in asked]),
        answer_flops=number * _mean([answers(question) for question in asked]),
        measured=len(some),
        seconds=_mean([question.heard.seconds for question in asked]),
        unfit=tuple(unfit),
    )


def _shortened(question: Question, shortening: Shortening, ratio: float) -> Question:
    """Return a question as a shorter recording asks it; how much silence there is nobody knows."""
    heard = question.heard
    share = max(keep_count(heard.audio_tokens, ratio) / heard.audio_tokens, 1 / shortening.fastest)
    tokens = max(1, round(share * heard.audio_tokens))
    return replace(
        question, heard=replace(heard, seconds=share * heard.seconds, audio_tokens=tokens)
    )


def _heard(
    pricing: Pricing, name: str, lengths: Sequence[int], question: str, system: str | None
) -> Heard:
    prompt = read_prompt(pricing.blueprint, question, system)
    return weigh(pricing.blueprint, prompt, name, [n / SAMPLE_RATE for n in lengths], 0.0)


def _texts(item: Item) -> int:
    """Return how many texts an item has besides its answer; see ``asking.records.Texts``."""
    if item.kind == JUDGED:
        return 0
    return 1 if item.kind == TRANSCRIPT else len(item.answers)


def _steps(pricing: Pricing, question: Question, ratio: float) -> int:
    """Return the operations of one row's longest answer behind a pruned prompt."""
    columns = question.heard.text_tokens + keep_count(question.heard.audio_tokens, ratio)
    return question.answer * pricing.costs.step_flops(columns + question.answer // 2)


def _split(samples: Sequence[Sample]) -> tuple[int, int]:
    """Return how many samples choices are made on, and how many are of the report."""
    reported = sum(sample.held_out for sample in samples)
    return len(samples) - reported, reported


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
