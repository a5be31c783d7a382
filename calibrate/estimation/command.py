"""``headrouter calibrate``: check everything cheap first, calibrate, write, and show."""

from __future__ import annotations

import functools
import secrets
import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from calibrate.commands.calibrate import Calibrate, Recipe
from calibrate.estimation.ablation import BOTH_KINDS, KINDS
from calibrate.estimation.calibration import HALF_OF_SPLIT, REPORTED, calibrate
from calibrate.estimation.heads.command import run as add_heads
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
from calibrate.terminal.console import STDERR, show, show_json, warned
from calibrate.terminal.errors import SomeFailedError
from calibrate.terminal.outputs import claim
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
    data, seed = request.data, request.seed
    output = request.output or Path(f"{named.source(request.model).name}.safetensors")
    questions = request.questions
    if questions is not None and data is None:
        raise UsageError("--questions asks about recordings; name their folder with --data")
    claim(output, force=request.force, inputs=[path for path in (data, questions) if path])
    listed = functools.partial(_listed, data, questions, benchmark)
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

    def draw(count: int, number: int, most: int | None = None) -> list[Sample]:
        samples = listed(count, number)
        if data is not None:
            samples = audible(samples, loaded.frontend, unheard)
        samples = limited(samples, most)
        if questions is not None:
            with progress.stage("Answers without pruning", len(samples)) as tick:
                samples = answered(loaded, samples, tick)
        return samples

    others = [] if data else other_lengths(seed)
    with Progress(STDERR) as progress:
        samples = draw(request.per_category, seed, request.limit)
        check_samples(samples)
        profile = calibrate(
            loaded,
            samples,
            layer=request.layer or DEFAULT_LAYER,
            ratios=ratios,
            seed=seed,
            progress=progress,
            other_lengths=others,
            recipe=request.recipe.value,
            kinds=BOTH_KINDS if request.leave_one_out else KINDS,
            again=draw if request.stability else None,
            sizes=sizes,
        )
    _save(profile, output, force=request.force)
    if request.as_json:
        failed = [{"id": name, "error": error} for name, error in unheard.items()]
        found = {"output": str(output), "failed": failed, "warnings": warned()}
        show_json({**found, **contents.to_json(profile)})
    else:
        show("\n".join(_outcome(profile, output, request.model)))
    if unheard:
        raise SomeFailedError(
            f"{len(unheard)} recordings of {data} could not be used, and the profile"
            " rests on the others"
        )


def _listed(
    data: Path | None, questions: Path | None, benchmark: Benchmark, count: int, seed: int
) -> list[Sample]:
    """Draw samples: so many a category to estimate on, and as many or more for the report."""
    reported = max(count, REPORTED)
    if data is None:
        return shipped_samples(count, seed=seed, report=reported)
    if questions is None:
        found = benchmark(str(data), count, seed=seed, report=reported)
        if found is not None:
            return found
        return manifest_samples(data, count, seed=seed, report=reported)
    return question_samples(data, questions, count, seed=seed, report=reported)


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
