"""One run of a model, pruned or not, with what it cost."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from benchmarks.measuring.clock import Clock
from benchmarks.measuring.ideal import shortened
from benchmarks.subjects.prompts import Prompt
from benchmarks.subjects.shapes import Shape
from headrouter_core import SELECTORS, Profile, Selection, Selector, View, families, prune

#: Tokens generated where decoding is measured.
NEW_TOKENS = 32


@dataclass(frozen=True)
class Pruning:
    """How a run is pruned."""

    selector: Selector
    ratio: float


@dataclass(frozen=True, eq=False)
class Bench:
    """A model on a device, and how it is measured."""

    model: Any
    shape: Shape
    profile: Profile
    clock: Clock
    layer: int
    """M."""
    repeats: int
    seed: int

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.clock.device

    def selectors(self, audio_tokens: int) -> dict[str, Selector]:
        """Return one selector of each kind, for prompts of so many audio tokens."""
        generator = torch.Generator().manual_seed(self.seed)
        loudness = torch.rand(audio_tokens, generator=generator)
        return every_selector(self.profile, loudness)

    def headrouter(self, ratio: float) -> Pruning:
        """Return how HeadRouter prunes."""
        return Pruning(SELECTORS["headrouter"](self.profile), ratio)

    @torch.no_grad()
    def prefill(
        self, prompt: Prompt, pruning: Pruning | None = None, *, all_logits: bool = False
    ) -> dict[str, float]:
        """Return the ``seconds`` of one forward, and those spent on ``selecting`` if it is pruned.

        Args:
            prompt: what runs.
            pruning: how it is pruned; opening and closing the context is not timed.
            all_logits: make the logits of every column, as the model does unless it is stopped;
                otherwise those of the last one only, which is all that generation reads.
        """
        with ExitStack() as stack:
            if not all_logits:
                stack.enter_context(last_logits(self.model))
            watched = self._pruned(stack, pruning)
            seconds = self.clock.seconds(lambda: self.model(**prompt.inputs, use_cache=True))
        return {"seconds": seconds, **({} if watched is None else {"selecting": watched.seconds()})}

    @torch.no_grad()
    def ideal(self, prompt: Prompt, kept: int) -> dict[str, float]:
        """Return the ``seconds`` of a forward whose later layers see ``kept`` audio tokens only."""
        with last_logits(self.model), shortened(self.model, prompt, self.layer, kept):
            return {
                "seconds": self.clock.seconds(lambda: self.model(**prompt.inputs, use_cache=True))
            }

    @torch.no_grad()
    def generate(
        self, inputs: dict[str, Any], pruning: Pruning | None = None, tokens: int = NEW_TOKENS
    ) -> dict[str, float]:
        """Return the ``seconds`` of a greedy ``generate``.

        Beside them: ``first``, until the logits of the first token were there, and of all tokens
        behind it the seconds of a ``step``, and ``tokens_per_second`` of a row.
        """
        ticks = _FirstLogits(self.clock)
        with ExitStack() as stack:
            self._pruned(stack, pruning)
            started = self.clock.now()
            self.model.generate(
                **inputs,
                max_new_tokens=tokens,
                do_sample=False,
                logits_processor=LogitsProcessorList([ticks]),
            )
            ended = self.clock.now()
        times = {"seconds": ended - started, "first": ticks.at - started}
        if tokens == 1:
            return times
        step = (ended - ticks.at) / (tokens - 1)
        return {**times, "step": step, "tokens_per_second": 1 / step}

    def _pruned(self, stack: ExitStack, pruning: Pruning | None) -> Watched | None:
        if pruning is None:
            return None
        watched = Watched(pruning.selector, self.device)
        layers = families.locate(self.model).layers
        handle = layers[self.layer - 1].register_forward_hook(watched.begin)
        stack.callback(handle.remove)
        # its name and needs are those of one instance, not of its class
        selector = cast(Selector, watched)
        stack.enter_context(prune(self.model, selector, pruning.ratio, self.layer))
        return watched


def every_selector(profile: Profile, loudness: torch.Tensor) -> dict[str, Selector]:
    """Return one selector of each kind, for prompts of one audio with this loudness [N_a]."""
    known = {"profile": profile, "loudness": [loudness]}
    made: dict[str, Selector] = {}
    for name, kind in SELECTORS.items():
        taken = inspect.signature(kind).parameters
        made[name] = kind(**{key: value for key, value in known.items() if key in taken})
    return made


class Watched:
    """A selector that notes how long choosing takes, from the end of layer M-1 to its choice.

    That is all of probe, routing and selection, and what the engine makes of captured queries and
    keys for them. Behind it come the gathers and masks of pruning itself.

    On a GPU by events in the stream, so that nothing has to wait: what is measured is the time from
    the last kernel of the layer to the last one of the choice, gaps included.
    """

    def __init__(self, inner: Selector, device: torch.device) -> None:
        self.name = inner.name
        self.needs = inner.needs
        self.text_tokens = inner.text_tokens
        self._inner = inner
        self._stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
        self._began: list[Any] = []
        self._ended: list[Any] = []

    def begin(self, *_: Any) -> None:
        """Note that layer M-1 ends: a forward hook of it."""
        mark = self._mark()
        self._began.append(mark)
        self._ended.append(mark)

    def __call__(self, view: View, k: int) -> Selection:
        """Choose as the selector inside does."""
        selection = self._inner(view, k)
        self._ended[-1] = self._mark()  # rows choose one after the other: the last one's is left
        return selection

    def seconds(self) -> float:
        """Return the seconds of all forwards so far; the device must be done with them."""
        marks = zip(self._began, self._ended, strict=True)
        if self._stream is not None:
            return float(sum(began.elapsed_time(ended) for began, ended in marks)) / 1000
        return float(sum(ended - began for began, ended in marks))

    def _mark(self) -> Any:
        if self._stream is None:
            return time.perf_counter()
        event: Any = torch.cuda.Event(enable_timing=True)
        event.record(self._stream)
        return event


class _FirstLogits(LogitsProcessor):
    """Notes when ``generate`` has its first logits, and changes nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.at = 0.0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not self.at:
            self.at = self._clock.now()
        return scores


@contextmanager
def last_logits(model: Any) -> Iterator[None]:
    """Have a model make the logits of the last column only, as ``logits_to_keep=1`` would.

    Qwen2.5-Omni's forward has no such argument in the transformers that this was written for.
    """

    def cut(module: Any, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (args[0][:, -1:],)

    handle = model.get_output_embeddings().register_forward_pre_hook(cut)
    try:
        yield
    finally:
        handle.remove()


def takes_logits_to_keep(model: Any) -> bool:
    """Whether the model's forward can be told which logits to make; ``generate`` then does so."""
    forward: Callable[..., Any] = model.forward
    return "logits_to_keep" in inspect.signature(forward).parameters
