"""``headrouter calibrate``: check everything cheap first, calibrate, write, and show."""

from __future__ import annotations

import functools
import secrets
import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from calibrate.commands.calibrate import Calibrate, Recipe
from calibrate.estimation import journaling
from calibrate.estimation.ablation import BOTH_KINDS, KINDS
from calibrate.estimation.calibration import HALF_OF_SPLIT, REPORTED, calibrate
from calibrate.estimation.heads.command import run as add_heads
from calibrate.estimation.replay.parking import Parking
from calibrate.estimation.report.stability import SEEDS
from calibrate.estimation.samples.questions import answered, question_samples
from calibrate.estimation.samples.sample import (
    UNGROUPED,
    Sample,
    manifest_samples,
    other_lengths,
    shipped_samples,
)
from calibrate.estimation.samples.usable import audible, check_samples, limited
from calibrate.inspection import contents
from calibrate.inspection.worth import safe_ratio, worth
from calibrate.models import named, own
from calibrate.running.sizes import parse_size
from calibrate.terminal.console import STDERR, show, show_json, warned
from calibrate.terminal.errors import SomeFailedError
from calibrate.terminal.progress import Progress
from calibrate.terminal.ratios import check_ratios, parse_ratios
from headrouter_core.errors import HeadRouterError, UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.pruning.context import DEFAULT_LAYER

Benchmark = Callable[..., list[Sample] | None]

#: More samples a category than any manifest has.
_ALL = 10**9


def run(request: Calibrate, benchmark: Benchmark) -> None:
    """The command: check everything cheap first, calibrate, write, and show what came out.

    Args:
        request: what is asked.
        benchmark: draws from a benchmark's development part; ``None`` where the data are none.
    """
    if request.heads:
        add_heads(request)
        return
    ratios = parse_ratios(request.ratios)
    check_ratios(ratios)
    memory = parse_size("--memory", request.memory)
    data, seed = request.data, request.seed
    output = request.output or Path(f"{named.source(request.model).name}.safetensors")
    questions = request.questions
    if questions is not None and data is None:
        raise UsageError("--questions asks about recordings; name their folder with --data")
    files = journaling.claim_both(
        output, force=request.force, inputs=[path for path in (data, questions) if path]
    )
    listed = functools.partial(_listed, data, questions, benchmark, files)
    sizes = (request.per_category, HALF_OF_SPLIT)
    if data is not None:  # what is wrong with the files is said before a model is loaded
        first = limited(listed(request.per_category, seed), request.limit)
        check_samples(first)
        if request.recipe is Recipe.PAPER and any(s.group == UNGROUPED for s in first):
            raise UsageError(
                f"--recipe paper mixes by group and {questions} names none; name the group of each"
                " question, or take --recipe best"
            )
        if request.stability:
            sizes = _sizes(request.per_category, listed(_ALL, seed), data)
    loaded = named.load_asked(request)
    unheard: dict[str, str] = {}

    def heard(count: int, number: int, most: int | None = None) -> list[Sample]:
        samples = listed(count, number)
        if data is not None:
            samples = audible(samples, loaded.frontend, unheard)
        return limited(samples, most)

    kinds = BOTH_KINDS if request.leave_one_out else KINDS
    settings = {
        "ratios": ratios,
        "seed": seed,
        "recipe": request.recipe.value,
        "ablation": list(kinds),
        "questions": questions is not None,
        "stability": list(sizes) if request.stability else None,
    }
    layer = request.layer or DEFAULT_LAYER
    others = [] if data else other_lengths(seed)
    samples = heard(request.per_category, seed, request.limit)
    check_samples(samples)
    asked = [*samples, *others]
    if request.stability and data is not None:
        asked += _further(heard, sizes, asked)
    header = journaling.header(loaded, asked, layer, settings)
    with (
        journaling.going_on(output, header, force=request.force) as run,
        Parking(memory, output.parent) as parking,
        Progress(STDERR) as progress,
    ):

        def answers(samples: list[Sample]) -> list[Sample]:
            if questions is None:
                return samples
            with progress.stage("Answers without pruning", len(samples)) as tick:
                return answered(loaded, samples, run.work, tick)

        profile = calibrate(
            loaded,
            answers(samples),
            layer=layer,
            ratios=ratios,
            seed=seed,
            progress=progress,
            other_lengths=others,
            recipe=request.recipe.value,
            kinds=kinds,
            again=(lambda *drawn: answers(heard(*drawn))) if request.stability else None,
            sizes=sizes,
            work=run.work,
            parking=parking,
        )
        run.end(profile, _save)
    if request.as_json:
        failed = [{"id": name, "error": error} for name, error in unheard.items()]
        found = {"output": str(output), "resumed": len(run.work.resumed), "failed": failed}
        show_json({**found, "warnings": warned(), **contents.to_json(profile)})
    else:
        show("\n".join(_outcome(profile, output, request.model)))
    if unheard:
        raise SomeFailedError(
            f"{len(unheard)} recordings of {data} could not be used, and the profile"
            " rests on the others"
        )


def _further(
    draw: Callable[[int, int], list[Sample]], sizes: tuple[int, int], known: Sequence[Sample]
) -> list[Sample]:
    """Return what ``--stability`` will ask beside the samples that are known, each once."""
    small, large = sizes
    draws = [*(draw(small, number) for number in SEEDS), draw(large, SEEDS[0])]
    drawn = {sample.id: replace(sample, fold=0) for samples in draws for sample in samples}
    for sample in known:
        drawn.pop(sample.id, None)
    return list(drawn.values())


def _listed(
    data: Path | None,
    questions: Path | None,
    benchmark: Benchmark,
    besides: Sequence[Path],
    count: int,
    seed: int,
) -> list[Sample]:
    """Draw samples: so many a category to estimate on, and as many or more for the report.

    ``besides`` are the command's own files, which may lie beside the recordings.
    """
    reported = max(count, REPORTED)
    if data is None:
        return shipped_samples(count, seed=seed, report=reported)
    if questions is None:
        found = benchmark(str(data), count, seed=seed, report=reported)
        if found is not None:
            return found
        return manifest_samples(data, count, seed=seed, report=reported)
    return question_samples(data, questions, count, seed=seed, report=reported, besides=besides)


def _outcome(profile: Profile, output: Path, model: str) -> Iterator[str]:
    """Yield what a calibration ends with, in at most 12 lines: what its profile is worth for what.

    Args:
        profile: what came out.
        output: where it is.
        model: the option, for the command that uses it.
    """
    yield from worth(profile)
    yield f"Wrote {output}"
    asked = "" if model == own.EMBEDDED else f" --model {shlex.quote(model)}"
    file = shlex.quote(str(output))
    ratio = safe_ratio(profile.results)
    asked += f" --profile {file}" + ("" if ratio is None else f" --ratio {ratio:g}")
    yield f"Next: headrouter inspect {file}"
    yield f"      headrouter prune AUDIO{asked}"


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
    for place in (lambda: output.parent, Path.cwd, Path.home, tempfile.gettempdir):
        try:
            path = Path(place()).resolve() / name
            profile.save(path)
        except (HeadRouterError, OSError, RuntimeError):  # the last two: there is no such place
            continue
        raise HeadRouterError(
            f"{failed}; the profile was calibrated and is in {path}: move it to where it belongs"
        ) from failed
    raise HeadRouterError(
        f"{failed}; nor is there any other place that takes the calibrated profile"
    ) from failed


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
