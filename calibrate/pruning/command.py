"""``headrouter prune``: ask about recordings with most audio tokens removed, and without."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibrate.commands.prune import Prune
from calibrate.models import named, own
from calibrate.models.asking import answer, prefill_seconds
from calibrate.models.frontends.base import FrontEnd
from calibrate.models.named import Loaded
from calibrate.models.selecting import build_selector, check_fit, find_profile, takes_profile
from calibrate.pruning.result import Result, to_bytes, to_json
from calibrate.pruning.text import describe
from calibrate.sound.files.sources import STDIN, Source, opened
from calibrate.sound.reading import Recording, probe, read
from calibrate.terminal.console import say, show, show_json, working
from calibrate.terminal.errors import AudioError, ModelError, SomeFailedError
from calibrate.terminal.exits import describe as describe_error
from calibrate.terminal.outputs import claim
from headrouter_core import prune
from headrouter_core.basics.writing import write
from headrouter_core.errors import HeadRouterError, NonFiniteError, UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.pruning.context import DEFAULT_LAYER
from headrouter_core.scoring import exact_ratio
from headrouter_core.selectors import Selector, get_selector

QUESTION = "Transcribe the audio."
#: What tiny-omni is asked unless a question is given, and what it should not be asked.
EMBEDDED_QUESTION = "Which digits are spoken?"
EMBEDDED_NOTE = (
    "tiny-omni is a small model for trying things out: it knows English digits, six wake words and"
    " ten German sentences, and tells sound events, backgrounds, instruments, emotion and gender"
    " apart; it cannot transcribe free speech (--model qwen2.5-omni-3b can)"
)


@dataclass(frozen=True)
class Method:
    """The kind of selector and the layer that a request comes down to."""

    kind: Callable[..., Selector]
    layer: int
    profile: Profile | None
    seed: int

    def selector(self, loaded: Loaded, samples: np.ndarray) -> Selector:
        """Build the selector for one recording."""
        return build_selector(
            self.kind,
            profile=self.profile,
            seed=self.seed,
            audios=[samples],
            frontend=loaded.frontend,
        )


def run(request: Prune) -> None:
    """Do what the command line asks.

    Raises:
        UsageError: an option out of range or a file in the way; before anything is loaded.
        ProfileError: no profile, or one that is not this model's.
        ModelError: the model cannot be loaded.
        AudioError: the one recording cannot be read or asked about.
        NonFiniteError: the model's logits are NaN or infinite.
        SomeFailedError: that happened to some of several recordings.
    """
    method = _check(request)
    if len(request.audio) > 1:
        _deliver_many(request, method, _load(request, method))
        return
    # a large model takes minutes to load: what is wrong with its only recording is said before
    (path,) = request.audio
    heard: list[Recording] = []
    with opened(path) as source:
        probe(source)
        loaded = _load(request, method, lambda frontend: heard.append(_read(source, frontend)))
    _deliver_one(request, _prune(request, method, loaded, path, heard[0]))


def _check(request: Prune) -> Method:
    """Refuse what can be refused before anything is loaded; return the method.

    Raises:
        UsageError: an option out of range, or a file in the way.
        ProfileError: the method takes a profile, and there is none.
    """
    if request.question is not None and not request.question.strip():
        raise UsageError(
            "--question is empty, and a question needs an audio and a text; leave the option"
            " out to ask the default one"
        )
    if request.audio.count(STDIN) > 1:
        raise UsageError("- is given twice, and standard input can be read once")
    written = [path for path in (request.output, request.plot, request.page) if path is not None]
    if written and len(request.audio) > 1:
        raise UsageError(f"{written[0]} can hold one recording and {len(request.audio)} are given")
    for earlier, later in itertools.combinations(written, 2):
        if earlier.resolve() == later.resolve():
            raise UsageError(
                f"{later} is given twice; --output, --plot and --page are files of their own"
            )
    files = [Path(given) for given in request.audio if given != STDIN]
    inputs = [*files, *([Path(request.profile)] if request.profile else [])]
    claim(request.output, plot=request.plot, page=request.page, force=request.force, inputs=inputs)
    exact_ratio(request.ratio)
    kind = get_selector(request.method)
    profile = None
    if takes_profile(kind):
        profile = find_profile(request.model, request.profile)
    elif request.profile is not None:
        say(f"{request.method} uses no profile; {request.profile} is ignored", "warning")
    layer = request.layer or (profile.recipe.layer if profile else DEFAULT_LAYER)
    return Method(kind, layer, profile, request.seed)


def _load(
    request: Prune, method: Method, ready: Callable[[FrontEnd], None] | None = None
) -> Loaded:
    loaded = named.load_asked(request, ready)
    check_fit(loaded, method.layer, method.profile, force=request.force)
    if loaded.name == own.EMBEDDED:
        say(EMBEDDED_NOTE)
    return loaded


def _read(source: Source, frontend: FrontEnd) -> Recording:
    """Read a recording as the model takes it, and say what is odd about it."""
    recording = read(source, frontend.sample_rate, max_seconds=frontend.max_seconds)
    for remark in recording.warnings:
        say(f"{source.name}: {remark}", "warning")
    return recording


def _prune(
    request: Prune, method: Method, loaded: Loaded, given: str, recording: Recording
) -> Result:
    """Ask about one recording, with and without pruning."""
    path, samples = Path(given), recording.samples
    embedded = loaded.name == own.EMBEDDED
    question = request.question
    if question is None:
        question = EMBEDDED_QUESTION if embedded else QUESTION
    with working(f"asking about {path.name}"):
        inputs = loaded.place(loaded.frontend.inputs([samples], question))
        selector = method.selector(loaded, samples)
        pruning = functools.partial(
            prune, loaded.model, selector, request.ratio, method.layer, force=request.force
        )
        unpruned = answer(loaded, inputs, request.max_new_tokens)
        with pruning() as trace:
            pruned = answer(loaded, inputs, request.max_new_tokens)
        seconds, runs = prefill_seconds(loaded, inputs, (pruning, contextlib.nullcontext))
    expected = loaded.frontend.audio_tokens(len(samples))
    if trace[0].audio_tokens != expected:
        raise ModelError(
            f"{path}: the model was given {trace[0].audio_tokens} audio tokens and {len(samples)}"
            f" samples should become {expected}; tokenizer and model do not belong together"
        )
    return Result(
        file=path,
        samples=samples,
        warnings=recording.warnings,
        question=question,
        entry=trace[0],
        ratio=request.ratio,
        method=request.method,
        layer=method.layer,
        answer=pruned,
        answer_unpruned=unpruned,
        prefill_seconds=seconds[0],
        prefill_seconds_unpruned=seconds[1],
        prefill_runs=runs,
        loaded=loaded,
        profile=method.profile,
    )


def _deliver_one(request: Prune, result: Result) -> None:
    files: dict[Path, bytes] = {}
    if request.output is not None:
        files[request.output] = to_bytes(result)
    if request.plot is not None:
        from calibrate.pruning.plot import draw  # matplotlib is slow to import

        files[request.plot] = draw(result)
    if request.page is not None:
        from calibrate.pruning.page import render  # likewise

        files[request.page] = render(result)
    for path, content in files.items():
        write(path, content, force=request.force)
        size = f" ({len(content) / 1e6:.1f} MB)" if path == request.page else ""
        say(f"wrote {path}{size}")
    if request.as_json:
        show_json(to_json(result))
    else:
        show(describe(result))


def _deliver_many(request: Prune, method: Method, loaded: Loaded) -> None:
    """Go on after a recording that fails; say at the end how many did."""
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for path in request.audio:
        try:
            with opened(path) as source:
                recording = _read(source, loaded.frontend)
            result = _prune(request, method, loaded, path, recording)
        except Exception as error:
            if isinstance(error, UsageError) and not isinstance(error, AudioError):
                raise  # of the request: it would fail all
            if isinstance(error, NonFiniteError) and error.weight is not None:
                raise  # of the model: likewise
            say(describe_error(error), "error")
            failed.append({"file": str(Path(path)), "error": describe_error(error)})
            continue
        if request.as_json:
            done.append(to_json(result))
        else:
            show(describe(result, heading=True) + "\n")
    if request.as_json:
        show_json({"results": done, "failed": failed})
    if failed:
        what = f"{len(failed)} of {len(request.audio)} recordings failed"
        raise (SomeFailedError if len(failed) < len(request.audio) else HeadRouterError)(what)
