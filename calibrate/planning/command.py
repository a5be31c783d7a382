"""``headrouter plan``: what will be heard and what it costs, before any weights are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from calibrate.planning import endpoint, screen
from calibrate.planning.blueprint import Blueprint, draw
from calibrate.planning.gpus import UTILISATION, Gpu
from calibrate.planning.hearing import listen, read_prompt
from calibrate.planning.lengths import Prefill, Prefills
from calibrate.planning.request import Request
from calibrate.planning.work import Pricing, Work, calibration, evaluation
from calibrate.sound.files.sources import opened
from calibrate.sound.reading import LONGEST, read
from calibrate.terminal.console import say, show, show_json, warned, working
from calibrate.terminal.errors import AudioError, SomeFailedError
from calibrate.terminal.exits import describe as describe_error
from headrouter_core.errors import HeadRouterError, UsageError

#: What ``headrouter prune`` removes unless it is told otherwise.
RATIO = 0.6


def run(request: Request) -> None:
    """Do what the command line asks.

    Raises:
        UsageError: nothing to plan for, or an option out of range.
        ModelError: configuration or front end cannot be had or read.
        AudioError: the one recording cannot be read.
        SomeFailedError: that happened to some of several recordings.
        EndpointError: the server cannot be asked, or does not count the whole recording.
    """
    gpu = request.check()
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


def _plan_recordings(request: Request, blueprint: Blueprint, gpu: Gpu | None) -> None:
    prompt = read_prompt(blueprint, request.asked)
    ratio = RATIO if request.ratio is None else request.ratio
    takes = Prefills(blueprint, prompt, ratio, request.layer)
    failed: list[dict[str, str]] = []
    found: list[Prefill] = []
    counted: endpoint.Counted | None = None
    for given in request.audio:
        # a pipe is read once, and may be asked about too
        try:
            with opened(given) as source:
                found.append(takes.of(listen(blueprint, prompt, source, ratio)))
                if request.endpoint is not None:
                    audio = read(source, blueprint.frontend.sample_rate, max_seconds=LONGEST)
                    counted = _ask(request, blueprint, audio.samples)
        except AudioError as error:
            if len(request.audio) == 1:
                raise
            say(describe_error(error), "error")
            failed.append({"file": str(given), "error": describe_error(error)})
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
        what = f"{len(failed)} of {len(request.audio)} recordings could not be read"
        raise (SomeFailedError if found else HeadRouterError)(what)
    if counted is not None and counted.verdict != "whole":
        raise endpoint.EndpointError(counted.told())


def _ask(request: Request, blueprint: Blueprint, samples: Any) -> endpoint.Counted:
    assert request.endpoint is not None
    with working(f"asking {request.endpoint}"):
        return endpoint.compare(
            request.endpoint,
            request.endpoint_model or blueprint.id,
            blueprint.frontend,
            samples,
            request.asked,
            request.timeout,
        )


def _recording(prefill: Prefill, gpu: Gpu | None) -> dict[str, Any]:
    wrong = screen.misfits(prefill, gpu)
    facts = prefill.heard.to_json() | {"fits": not wrong, "reasons": wrong}
    return facts | {"prefill": prefill.to_json()}


def _plan_set(request: Request, data: str, blueprint: Blueprint, gpu: Gpu | None) -> None:
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
    request: Request, blueprint: Blueprint, gpu: Gpu | None, ratio: float | None
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
