"""Which samples a calibration uses: what can be heard, enough of each group, as many as asked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from calibrate.estimation.samples.manifests import GROUPS
from calibrate.estimation.samples.sample import FOLDS, UNGROUPED, Sample
from calibrate.models.frontends.base import FrontEnd
from calibrate.sound.reading import SAMPLE_RATE, resample
from calibrate.terminal.console import say
from calibrate.terminal.errors import AudioError
from headrouter_core.errors import UsageError


def audible(samples: Sequence[Sample], frontend: FrontEnd, failed: dict[str, str]) -> list[Sample]:
    """Return the samples whose recording can be read and given to a model.

    Args:
        samples: of a manifest.
        frontend: the model's.
        failed: id and reason of the others are put here, and said once.
    """
    good = []
    for sample in samples:
        try:
            audio = sample.read(max_seconds=frontend.max_seconds)
            frontend.check_audio(resample(audio, SAMPLE_RATE, frontend.sample_rate))
        except AudioError as error:
            if sample.id not in failed:
                say(str(error), "error")
            failed[sample.id] = str(error)
        else:
            good.append(sample)
    return good


def check_samples(samples: Sequence[Sample]) -> None:
    """Raise ``UsageError`` where a group lacks folds, or the report samples."""
    present = {(sample.fold, sample.group) for sample in samples}
    ungrouped = any(group == UNGROUPED for _, group in present)
    for group in (UNGROUPED,) if ungrouped else GROUPS:
        folds = [fold for fold in range(FOLDS) if (fold, group) in present]
        if len(folds) < FOLDS:
            raise UsageError(
                f"the {group} samples fill {len(folds)} of the {FOLDS} folds of the "
                "cross-validation; raise --per-category or --limit, or add recordings"
            )
    if not any(sample.held_out for sample in samples):
        raise UsageError("no sample is left for the report; raise --limit or add recordings")


def limited(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """At most ``limit`` samples: tasks in turn, and in each to estimate and to report in turn."""
    if limit is None or limit >= len(samples):
        return list(samples)
    queues = []
    for task in dict.fromkeys(sample.task for sample in samples):
        mine = [sample for sample in samples if sample.task == task]
        used = [sample for sample in mine if not sample.held_out]
        kept_out = [sample for sample in mine if sample.held_out]
        turns = zip_longest(used, kept_out)
        queues.append([sample for turn in turns for sample in turn if sample is not None])
    in_turn = [sample for turn in zip_longest(*queues) for sample in turn if sample is not None]
    return in_turn[:limit]
