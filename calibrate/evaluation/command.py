"""``headrouter evaluate``: methods by ratios by tasks, side by side."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence

from calibrate.commands.evaluate import Evaluate
from calibrate.estimation.samples.lengths import check_answers
from calibrate.evaluation.asking.methods import Method, parse_methods
from calibrate.evaluation.asking.run import Plan
from calibrate.evaluation.comparing.results import Results
from calibrate.evaluation.datasets.reading import MAX_NEW_TOKENS
from calibrate.evaluation.datasets.sources import limited, read_data
from calibrate.evaluation.folder import Folder
from calibrate.evaluation.scoring.items import LABEL, Dataset
from calibrate.evaluation.showing.probes import describe as describe_probes
from calibrate.evaluation.showing.table import WIDTH, describe
from calibrate.evaluation.stages import Stages, Stored
from calibrate.models import named
from calibrate.models.selecting import check_fit, find_profile
from calibrate.terminal.console import STDERR, say, show, show_json, warned, working
from calibrate.terminal.errors import SomeFailedError
from calibrate.terminal.progress import Progress
from calibrate.terminal.ratios import check_ratios, parse_ratios
from headrouter_core.errors import ProfileError, UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.pruning.context import DEFAULT_LAYER


def run(request: Evaluate) -> None:
    """Do what the command line asks.

    Raises:
        SomeFailedError: items could not be asked, or are missing in the data.
        UsageError, ProfileError, ModelError, HeadRouterError: see :func:`measured`.
    """
    done = measured(request)
    if done is None:
        return
    found, costs, probes = done
    _show(request, found, costs, probes)
    faults = found.raw["dataset"]["faults"]
    if faults:
        first = faults[0]
        raise SomeFailedError(
            f"{len(faults)} items of {found.raw['dataset']['name']} could not be asked, the first:"
            f" {first['id']}: {first['reason']} (all of them are in"
            f" {Folder(request.output).results})"
        )


def measured(request: Evaluate) -> tuple[Results, Stored, Stored | None] | None:
    """Ask, time and draw what the folder does not hold yet; ``None`` of a shard.

    Returns:
        Results, times and what probes found, if they were asked for.

    Raises:
        UsageError: an option out of range, data that are not there, or the folder of another
            evaluation; before anything is computed.
        ProfileError: a method takes a profile, and there is none, or one that is not this model's.
        ModelError: the model cannot be loaded, or its logits are not finite.
        HeadRouterError: no item at all could be asked.
    """
    ratios, methods = parse_ratios(request.ratios), tuple(parse_methods(request.methods))
    check_ratios(ratios)
    shard, folder = _shard(request), Folder(request.output)
    folder.check(force=request.force)
    dataset = limited(
        read_data(
            request.data, seconds=request.seconds, per_task=request.per_task, split=request.split
        ),
        request.limit,
    )
    profile = _profile(request, methods)
    layer = request.layer or (profile.recipe.layer if profile else DEFAULT_LAYER)
    keep = request.keep_calibration_items
    plan = Plan(methods, ratios, layer, request.seed, profile, keep)
    folder.make()
    loaded = named.load_asked(request)
    check_fit(loaded, layer, profile, force=request.force)
    check_answers(loaded, _references(dataset))
    with Progress(STDERR) as progress:
        stages = Stages(loaded, dataset, plan, folder, progress)
        if shard is not None:
            stages.ask_shard(*shard, anew=request.force)
            return None
        return _stages(request, stages)


def _shard(request: Evaluate) -> tuple[int, int] | None:
    """Return which shard is asked for, and of how many.

    Raises:
        UsageError: not K/N with 1 <= K <= N.
    """
    if request.shard is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", request.shard)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard {request.shard} is not K/N with K from 1 to N, such as 1/2")
    return number, count


def _references(dataset: Dataset) -> Iterator[tuple[str, str, int | None]]:
    """Yield where each text stands whose likelihood is asked for, the text, and its longest length.

    Benchmarks are taken as they are: there, only the model's context is a bound.
    """
    vocabularies: set[int] = set()
    for item in dataset.items:
        if item.kind == LABEL and id(item.choices) in vocabularies:
            continue  # a task's items share one
        vocabularies.add(id(item.choices))
        most = MAX_NEW_TOKENS[item.kind] if item.where else None
        for text in item.answers or (item.reference,):
            yield item.where or item.id, text, most


def _stages(request: Evaluate, stages: Stages) -> tuple[Results, Stored, Stored | None]:
    """Ask, time, keep examples and draw; what was done before is not done again."""
    folder = stages.folder
    try:
        found = stages.ask(anew=request.force)
        costs = stages.time(found, request.timed)
        probes = stages.probe(found) if request.probes else None
        kept = stages.exemplify(found, request.examples)
    except KeyboardInterrupt:
        say(f"what was done is in {folder.path}; the same command goes on from there")
        raise
    from calibrate.evaluation.showing.plots import write_all  # matplotlib is slow to import

    with working("drawing"):
        write_all(found, costs, kept, folder)
    say(f"wrote {folder.results} and plots; the page: headrouter report {folder.path}")
    return found, costs, probes


def _profile(request: Evaluate, methods: Sequence[Method]) -> Profile | None:
    if not any(method.takes_profile for method in methods):
        if request.profile is not None:
            say(f"no method here takes a profile; {request.profile} is ignored", "warning")
        return None
    try:
        return find_profile(request.model, request.profile)
    except ProfileError as error:
        free = ",".join(method.name for method in methods if not method.takes_profile)
        if request.profile is not None or not free:
            raise
        raise ProfileError(f"{error}; or compare those that need none: --methods {free}") from error


def _show(request: Evaluate, found: Results, costs: Stored, probes: Stored | None) -> None:
    if request.as_json:
        more = {} if probes is None else {"probes": probes}
        show_json({**found.summary, "timing": costs, **more, "warnings": warned()})
        return
    wide = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    parts = [describe(found, costs, wide)]
    if probes is not None:
        parts.append(describe_probes(found, probes, wide))
    show("\n\n".join(parts))
