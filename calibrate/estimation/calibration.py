"""``headrouter calibrate``: from a model and samples to a profile."""

from __future__ import annotations

import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

from calibrate.estimation.ablation import ablate
from calibrate.estimation.bench import Bench
from calibrate.estimation.bundling import bundle, check_room
from calibrate.estimation.choosing.choices import choose
from calibrate.estimation.choosing.material import Material
from calibrate.estimation.report.heldout import report
from calibrate.estimation.report.stability import LENGTHS, by_length, stability
from calibrate.estimation.samples.lengths import LONGEST, check_answers
from calibrate.estimation.samples.sample import (
    FOLDS,
    GROUPS,
    Sample,
    manifest_samples,
    shipped_samples,
)
from calibrate.inspection import contents
from calibrate.models import named
from calibrate.models.frontends.base import FrontEnd
from calibrate.models.named import Loaded
from calibrate.sound.reading import SAMPLE_RATE, resample
from calibrate.terminal.console import STDERR, say, show, show_json, warned
from calibrate.terminal.errors import AudioError, SomeFailedError
from calibrate.terminal.outputs import claim
from calibrate.terminal.progress import Progress
from calibrate.terminal.ratios import check_ratios
from headrouter_core.errors import HeadRouterError, UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.pruning.context import DEFAULT_LAYER

#: Samples a category that stand for "half of the calibration split" with the shipped scenes: the
#: split has about 50 clips for each of its nine tasks.
HALF_OF_SPLIT = 25
#: More samples a category than any manifest has.
_ALL = 10**9


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
    for group in GROUPS:
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


def run(
    *,
    model: str,
    revision: str | None,
    data: Path | None,
    per_category: int,
    ratios: tuple[float, ...],
    layer: int | None,
    device: str,
    dtype: str,
    seed: int,
    limit: int | None,
    output: Path | None,
    force: bool,
    stability: bool,
    as_json: bool,
    trust_remote_code: bool,
) -> None:
    """The command: check everything cheap first, calibrate, write, and show what came out."""
    check_ratios(ratios)
    output = output or Path(f"{named.source(model).name}.safetensors")
    claim(output, force=force, inputs=[data] if data else [])

    unheard: dict[str, str] = {}

    def draw(count: int, number: int) -> list[Sample]:
        if data is None:
            return shipped_samples(count, seed=number)
        return audible(manifest_samples(data, count, seed=number), loaded.frontend, unheard)

    if data is not None:  # what is wrong with the manifest is said before a model is loaded
        check_samples(limited(manifest_samples(data, per_category, seed=seed), limit))
    sizes = (per_category, HALF_OF_SPLIT)
    if stability and data is not None:
        sizes = _sizes(per_category, manifest_samples(data, _ALL, seed=seed), data)
    loaded = named.load(
        model, revision=revision, device=device, dtype=dtype, trust_remote_code=trust_remote_code
    )
    for reason in loaded.reasons:
        say(reason)
    samples = limited(draw(per_category, seed), limit)
    check_samples(samples)
    others = [] if data else _other_lengths(seed)
    with Progress(STDERR) as progress:
        profile = calibrate(
            loaded,
            samples,
            layer=layer or DEFAULT_LAYER,
            ratios=ratios,
            seed=seed,
            progress=progress,
            other_lengths=others,
            again=draw if stability else None,
            sizes=sizes,
        )
    _save(profile, output, force=force)
    if as_json:
        failed = [{"id": name, "error": error} for name, error in unheard.items()]
        found = {"output": str(output), "failed": failed, "warnings": warned()}
        show_json({**found, **contents.to_json(profile)})
    else:
        contents.show_outcome(profile)
        show(f"\nWrote {output}; look closer with: headrouter inspect {output}")
    if unheard:
        raise SomeFailedError(
            f"{len(unheard)} recordings of {data} could not be used, and the profile"
            " rests on the others"
        )


def _save(profile: Profile, output: Path, *, force: bool) -> None:
    """Write the profile; where that fails after all, write it somewhere else and say where.

    Raises:
        HeadRouterError: it is not at ``output``; the message says where it is, if anywhere.
    """
    try:
        profile.save(output, force=force)
        return
    except HeadRouterError as error:
        failed = error
    name = f"headrouter-recovered-{secrets.token_hex(4)}.safetensors"
    for folder in (output.parent, Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
        try:
            profile.save(folder / name)
        except HeadRouterError:
            continue
        raise HeadRouterError(
            f"{failed}; the profile was calibrated and is in {(folder / name).resolve()}: move it"
            " to where it belongs"
        ) from failed
    raise failed


def _other_lengths(seed: int) -> list[Sample]:
    """Two scenes a task of each other length, from the clips that choices are made on."""
    return [
        sample
        for seconds in LENGTHS
        if seconds != 10.0
        for sample in shipped_samples(2, seed=seed, seconds=seconds, report=False)
    ]


def _sizes(per_category: int, everything: Sequence[Sample], data: Path) -> tuple[int, int]:
    """Samples a category of the small and of the large fit that ``--stability`` compares.

    The large fit takes half of what the manifest has to estimate on. Raises ``UsageError`` where
    that is no more than the small one takes.
    """
    counts = Counter(sample.task for sample in everything if not sample.held_out)
    half = max(counts.values()) // 2
    if half <= per_category:
        raise UsageError(
            f"--stability compares {per_category} samples a category with half of those that "
            f"{data} has to estimate on, at most {half}; lower --per-category, or add recordings"
        )
    return per_category, half
