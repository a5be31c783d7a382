"""``headrouter plan``: what will be heard and what it costs, before any weights are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from calibrate.commands.plan import Plan
from calibrate.commands.prune import Prune
from calibrate.planning import endpoint, screen
from calibrate.planning.blueprint import Blueprint, draw
from calibrate.planning.gpus import UTILISATION, Gpu, find_gpu
from calibrate.planning.hearing import listen, read_prompt
from calibrate.planning.lengths import Prefill, Prefills
from calibrate.planning.work import Pricing, Work, calibration, evaluation
from calibrate.sound.files.sources import STDIN, opened
from calibrate.sound.reading import LONGEST, read
from calibrate.terminal.console import say, show, show_json, warned, working
from calibrate.terminal.errors import AudioError, SomeFailedError
from calibrate.terminal.exits import describe as describe_error
from calibrate.terminal.ratios import check_ratios
from headrouter_core.errors import HeadRouterError, UsageError

#: The question whose tokens are counted, unless one is given.
QUESTION = "Transcribe the audio."


def run(request: Plan) -> None:
    """Do what the command line asks.

    Raises:
        UsageError: nothing to plan for, or an option out of range.
        ModelError: configuration or front end cannot be had or read.
        AudioError: the one recording cannot be read.
        SomeFailedError: that happened to some of several recordings.
        EndpointError: the server cannot be asked, or does not count the whole recording.
    """
    gpu = _check(request)
    if request.endpoint is not None:
        endpoint.address(request.endpoint)
    with working(f"drawing {request.model}"):
        blueprint = draw(
            request.model,
            revision=request.revision,
            dtype=request.dtype,
            trust_remote_code=request.trust_remote_code,
        )
        blueprint.anatomy.check_layer(request.layer)
    if request.data is not None:
        _plan_set(request, request.data, blueprint, gpu)
    else:
        _plan_recordings(request, blueprint, gpu)


def _check(request: Plan) -> Gpu | None:
    """Refuse what can be refused before anything is read; return the GPU that is named.

    Raises:
        UsageError: nothing to plan for, an option out of range, or options that exclude others.
    """
    audio = request.audio or []
    if request.ratio is not None:
        check_ratios([request.ratio])
    if bool(audio) == (request.data is not None):
        raise UsageError("give recordings, or what to calibrate or evaluate on: --data WHAT")
    if request.endpoint is not None and len(audio) != 1:
        raise UsageError(f"--endpoint is asked about one recording, and {len(audio)} are given")
    if request.endpoint is None and request.endpoint_model is not None:
        raise UsageError("--endpoint-model is for --endpoint URL, which is not given")
    if not (math.isfinite(request.timeout) and request.timeout > 0):
        raise UsageError(f"--timeout is {request.timeout:g}; give seconds, more than 0")
    if request.question is not None and not request.question.strip():
        raise UsageError("--question is empty; leave it out to plan for the default one")
    if audio.count(STDIN) > 1:
        raise UsageError("- is given twice, and standard input can be read once")
    return find_gpu(request.gpu, request.tflops)


def _plan_recordings(request: Plan, blueprint: Blueprint, gpu: Gpu | None) -> None:
    prompt = read_prompt(blueprint, _question(request))
    ratio = Prune.ratio if request.ratio is None else request.ratio
    takes = Prefills(blueprint, prompt, ratio, request.layer)
    failed: list[dict[str, str]] = []
    found: list[Prefill] = []
    counted: endpoint.Counted | None = None
    given_audio = request.audio or []
    for given in given_audio:
        # a pipe is read once, and may be asked about too
        try:
            with opened(given) as source:
                found.append(takes.of(listen(blueprint, prompt, source, ratio)))
                if request.endpoint is not None:
                    audio = read(source, blueprint.frontend.sample_rate, max_seconds=LONGEST)
                    counted = _ask(request, blueprint, audio.samples)
        except AudioError as error:
            if len(given_audio) == 1:
                raise
            say(describe_error(error), "error")
            failed.append({"file": str(Path(given)), "error": describe_error(error)})
    if request.as_json:
        facts = _facts(request, blueprint, gpu, ratio)
        show_json(
            {
                **facts,
                "recordings": [_recording(prefill, gpu) for prefill in found],
                "prefill": [prefill.to_json() for prefill in takes.shown()],
                "endpoint": None if counted is None else counted.to_json(),
                "failed": failed,
                "warnings": warned(),
            }
        )
    elif found:
        said = [] if counted is None else [*screen.wrapped(counted.told()), ""]
        show("\n".join([*said, screen.prefills(blueprint, found, takes.shown(), gpu)]))
    if failed:
        what = f"{len(failed)} of {len(given_audio)} recordings could not be read"
        raise (SomeFailedError if found else HeadRouterError)(what)
    if counted is not None and counted.verdict != "whole":
        raise endpoint.EndpointError(counted.told())


def _question(request: Plan) -> str:
    return QUESTION if request.question is None else request.question


def _ask(request: Plan, blueprint: Blueprint, samples: Any) -> endpoint.Counted:
    assert request.endpoint is not None
    with working(f"asking {request.endpoint}"):
        return endpoint.compare(
            request.endpoint,
            request.endpoint_model or blueprint.id,
            blueprint.frontend,
            samples,
            _question(request),
            request.timeout,
        )


def _recording(prefill: Prefill, gpu: Gpu | None) -> dict[str, Any]:
    wrong = screen.misfits(prefill, gpu)
    facts = prefill.heard.to_json() | {"fits": not wrong, "reasons": wrong}
    return facts | {"prefill": prefill.to_json()}


def _plan_set(request: Plan, data: str, blueprint: Blueprint, gpu: Gpu | None) -> None:
    pricing = Pricing(blueprint, request.layer)
    found: list[Work | str] = []
    commands: Sequence[tuple[str, Callable[[Pricing, str, float | None], Work]]]
    commands = [("calibrate", calibration), ("evaluate", evaluation)]
    errors: list[UsageError] = []
    for name, count in commands:
        try:
            with working(f"reading {data} for {name}"):
                found.append(count(pricing, data, request.ratio))
        except UsageError as error:
            errors.append(error)
            found.append(f"headrouter {name} cannot use {data}: {error}")
    if len(errors) == len(commands):
        raise errors[-1]
    if request.as_json:
        works = {
            work.command: {
                **work.to_json(),
                "hours": None if gpu is None else gpu.hours(work.flops + work.answer_flops),
            }
            for work in found
            if isinstance(work, Work)
        }
        refused = [text for text in found if isinstance(text, str)]
        facts = _facts(request, blueprint, gpu, request.ratio)
        show_json({**facts, "data": data, **works, "refused": refused, "warnings": warned()})
    else:
        show(screen.works(blueprint, data, found, gpu))


def _facts(
    request: Plan, blueprint: Blueprint, gpu: Gpu | None, ratio: float | None
) -> dict[str, Any]:
    longest = blueprint.frontend.max_seconds
    return {
        "model": {
            "name": blueprint.name,
            "id": blueprint.id,
            "dtype": str(blueprint.dtype).removeprefix("torch."),
            "context": blueprint.context,
            "max_seconds": longest if longest < float("inf") else None,
        },
        "ratio": ratio,
        "layer": request.layer,
        "gpu": None
        if gpu is None
        else {
            "name": gpu.name,
            "tflops": gpu.tflops,
            "source": gpu.source,
            "utilisation": UTILISATION,
        },
        "notes": list(blueprint.remarks),
    }
