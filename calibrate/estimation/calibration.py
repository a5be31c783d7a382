"""From a model and samples to a profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from calibrate.estimation.ablation import ablate
from calibrate.estimation.bench import Bench
from calibrate.estimation.bundling import bundle, check_room
from calibrate.estimation.choosing.choices import choose
from calibrate.estimation.choosing.material import Material
from calibrate.estimation.report.heldout import report
from calibrate.estimation.report.stability import by_length, stability
from calibrate.estimation.samples.lengths import LONGEST, check_answers
from calibrate.estimation.samples.sample import (
    Sample,
)
from calibrate.estimation.samples.usable import check_samples
from calibrate.models.named import Loaded
from calibrate.terminal.progress import Progress
from calibrate.terminal.ratios import check_ratios
from headrouter_core.profile.profile import Profile

#: Samples a category that stand for "half of the calibration split" with the shipped scenes: the
#: split has about 50 clips for each of its nine tasks.
HALF_OF_SPLIT = 25


def calibrate(
    loaded: Loaded,
    samples: Sequence[Sample],
    *,
    layer: int,
    ratios: Sequence[float],
    seed: int,
    progress: Progress,
    other_lengths: Sequence[Sample] = (),
    again: Callable[[int, int], list[Sample]] | None = None,
    sizes: tuple[int, int] = (10, HALF_OF_SPLIT),
) -> Profile:
    """Run the whole procedure on ``samples`` and return the profile.

    ``other_lengths`` are samples of other durations, used only to report how the mixing moves with
    length; ``again`` draws other samples (per category, seed) to report how stable the result is.
    Raises ``UsageError`` for ratios that prune nothing or stand twice, and for samples that leave a
    fold, a group or the report empty, that are more than a profile can hold, and for a reference
    answer that is too long.
    """
    check_ratios(ratios)
    check_samples(samples)
    check_room(loaded, samples, layer, ratios)
    check_answers(loaded, ((s.where or s.id, s.answer, LONGEST) for s in samples))
    with progress.stage("Encoding samples", len(samples) + len(other_lengths)) as tick:
        benches = prepare(loaded, samples, layer, tick)
        others = prepare(loaded, other_lengths, layer, tick)
    chosen_on = [bench for bench in benches if not bench.sample.held_out]
    held_out = [bench for bench in benches if bench.sample.held_out]
    with progress.stage("Head ablation", len(chosen_on)) as tick:
        material = Material(chosen_on, ablate(chosen_on, ratios, tick))
    choices = choose(material, ratios, progress)
    fitted = choices.fit(material)
    with progress.stage("Held-out report", len(held_out)) as tick:
        results = report(held_out, fitted, ratios, seed, tick)
    results["by_length"] = by_length([*chosen_on, *others], fitted)
    if again is not None:
        results["stability"] = stability(
            loaded, again, sizes, choices, layer=layer, ratios=ratios, progress=progress
        )
    return bundle(loaded, samples, material, choices, fitted, results, layer, ratios, seed)


def prepare(
    loaded: Loaded, samples: Sequence[Sample], layer: int, tick: Callable[[], None]
) -> list[Bench]:
    """Run layers 0..M-1 once for every sample."""
    benches = []
    for sample in samples:
        benches.append(Bench(loaded, sample, layer))
        tick()
    return benches
