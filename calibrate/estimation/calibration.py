"""From a model and samples to a profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from calibrate.estimation.ablation import KINDS, ablate
from calibrate.estimation.bench import Bench, prepare
from calibrate.estimation.bundling import bundle, check_room
from calibrate.estimation.choosing.choices import choose
from calibrate.estimation.choosing.material import Material
from calibrate.estimation.replay.parking import Parking
from calibrate.estimation.report.heldout import Observed, observe, report
from calibrate.estimation.report.routes import routing_report
from calibrate.estimation.report.stability import by_length, stability
from calibrate.estimation.samples.lengths import LONGEST, check_answers
from calibrate.estimation.samples.sample import Sample
from calibrate.estimation.samples.usable import check_samples
from calibrate.models.named import Loaded
from calibrate.running.journal import Journal
from calibrate.running.work import Work
from calibrate.terminal.progress import Progress
from calibrate.terminal.ratios import check_ratios
from headrouter_core.profile.profile import Profile

#: Samples a category that stand for "half of the calibration split" with the shipped scenes: the
#: split has about 50 clips for each of its nine tasks.
HALF_OF_SPLIT = 25
#: Fewest samples a category that the report takes, where there are as many.
REPORTED = 20


def calibrate(
    loaded: Loaded,
    samples: Sequence[Sample],
    *,
    layer: int,
    ratios: Sequence[float],
    seed: int,
    progress: Progress,
    other_lengths: Sequence[Sample] = (),
    recipe: str = "best",
    kinds: tuple[str, ...] = KINDS,
    again: Callable[[int, int], list[Sample]] | None = None,
    sizes: tuple[int, int] = (10, HALF_OF_SPLIT),
    work: Work | None = None,
    parking: Parking | None = None,
) -> Profile:
    """Run the whole procedure on ``samples`` and return the profile.

    ``other_lengths`` are samples of other durations: text tokens, prefilter and route are judged on
    them too, and the report says how the mixing moves with length. ``recipe`` is one of
    :data:`.choosing.choices.RECIPES`, ``kinds`` are those of the ablation. ``again`` draws other
    samples (per category, seed) to report how stable the result is. Samples for the report are
    prepared after all choices, one at a time. What the journal of ``work`` holds is not run again;
    ``parking`` is where prefixes lie while their sample is not asked, on the device unless given.
    Raises ``UsageError`` for ratios that prune nothing or stand twice, and for samples that leave a
    fold, a group or the report empty, that are more than a profile can hold, and for a reference
    answer that is too long.
    """
    work = Work(Journal()) if work is None else work
    check_ratios(ratios)
    check_samples(samples)
    check_room(loaded, samples, layer, ratios)
    check_answers(loaded, ((s.where or s.id, s.answer, LONGEST) for s in samples))
    used = [sample for sample in samples if not sample.held_out]
    held_out = [sample for sample in samples if sample.held_out]
    with progress.stage("Encoding samples", len(used) + len(other_lengths)) as tick:
        benches = prepare(loaded, used, layer, work, parking, tick)
        others = prepare(loaded, other_lengths, layer, work, parking, tick)
    with progress.stage("Head ablation", len(benches)) as tick:
        material = Material(benches, ablate(benches, ratios, tick, kinds, work), others, work)
    choices = choose(material, ratios, progress, recipe)
    fitted = choices.fit(material)
    if parking is not None:
        parking.clear()
    with progress.stage("Held-out report", len(held_out)) as tick:
        records = work.each(
            "report",
            held_out,
            lambda sample: observe(Bench(loaded, sample, layer), fitted, ratios).record(),
            tick,
        )
        outcomes = [Observed.recalled(record) for record in records]
    results = report(held_out, outcomes, ratios, seed)
    if material.grouped:
        results["routing"] = routing_report(material, outcomes, held_out, choices, fitted, seed)
    results["by_length"] = by_length(material.judged, fitted)
    if again is not None:
        results["stability"] = stability(
            loaded,
            again,
            sizes,
            recipe,
            kinds,
            layer=layer,
            ratios=ratios,
            progress=progress,
            work=work,
            parking=parking,
        )
    return bundle(loaded, samples, material, choices, fitted, results, layer, ratios, seed)
