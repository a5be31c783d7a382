"""Answering questions with most audio tokens removed, in batches, and counting what was removed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch

from calibrate.evaluation.lmms_eval.requests import Question
from calibrate.evaluation.lmms_eval.rows import RowByRow
from calibrate.evaluation.lmms_eval.settings import Settings, own_device
from calibrate.models import named
from calibrate.models.selecting import build_selector, check_fit, find_profile, takes_profile
from calibrate.terminal.console import say
from headrouter_core import Trace, prune
from headrouter_core.errors import HeadRouterError
from headrouter_core.pruning.context import DEFAULT_LAYER
from headrouter_core.selectors import Selector, get_selector


@dataclass
class Tally:
    """What was pruned and generated so far."""

    audio_tokens: list[int] = field(default_factory=list)
    """N_a of each request."""
    kept: list[int] = field(default_factory=list)
    """k of each request."""
    generated: int = 0
    """Tokens of answers, their ends included."""
    seconds: float = 0.0
    """Spent in ``generate``, the audio encoder included."""

    def add(self, trace: Trace, generated: int, seconds: float) -> None:
        """Count one batch."""
        self.audio_tokens += [entry.audio_tokens for entry in trace]
        self.kept += [entry.kept.numel() for entry in trace]
        self.generated += generated
        self.seconds += seconds

    def describe(self) -> str:
        """Return the counts in words."""
        if not self.kept:
            return "no request was answered"
        given, kept = sum(self.audio_tokens), sum(self.kept)
        return (
            f"{len(self.kept)} requests answered: kept {kept} of {given} audio tokens, removed"
            f" {1 - kept / given:.1%}; a request kept {min(self.kept)} to {max(self.kept)}"
        )


class Answerer:
    """A loaded model and the way its audio tokens are pruned."""

    def __init__(self, settings: Settings) -> None:
        """Find the profile, load the model, and hold the one against the other.

        Raises:
            UsageError: an unknown model, device or dtype, or a layer that it does not have.
            ProfileError: no profile, or one that is not this model's.
            ModelError: the model cannot be loaded.
        """
        self._settings = settings
        self._kind = get_selector(settings.method)
        self._profile = None
        if takes_profile(self._kind):
            self._profile = find_profile(settings.pretrained, settings.profile)
        elif settings.profile is not None:
            say(f"{settings.method} uses no profile; {settings.profile} is ignored", "warning")
        profiled = self._profile.recipe.layer if self._profile else DEFAULT_LAYER
        self._layer = settings.layer or profiled
        self.loaded = named.load(
            settings.pretrained,
            revision=settings.revision,
            device=own_device(settings.device),
            dtype=settings.dtype,
            trust_remote_code=settings.trust_remote_code,
        )
        for reason in self.loaded.reasons:
            say(reason)
        check_fit(self.loaded, self._layer, self._profile, force=settings.force)
        say(f"method {settings.method}, ratio {settings.ratio}, layer {self._layer}")
        self.tally = Tally()

    def batches(self, questions: Sequence[Question]) -> Iterator[list[str]]:
        """Answer questions in order, up to ``batch_size`` neighbours of equal settings at a time.

        Raises:
            HeadRouterError: of the first question that fails; the message names it.
        """
        size = self._settings.batch_size
        for _, group in itertools.groupby(questions, key=lambda question: question.generation):
            alike = list(group)
            for start in range(0, len(alike), size):
                yield self._answer(alike[start : start + size])

    def _answer(self, batch: Sequence[Question]) -> list[str]:
        frontend, generation = self.loaded.frontend, batch[0].generation
        rows, selectors = zip(*(self._prepare(question) for question in batch), strict=True)
        inputs = self.loaded.place(frontend.batch(rows))
        selector = RowByRow(selectors, tuple(question.sample for question in batch))
        options = dict(generation.options)
        if generation.until:
            options |= {"stop_strings": list(generation.until), "tokenizer": frontend.tokenizer}
        start = time.perf_counter()
        try:
            with torch.inference_mode(), self._pruning(selector) as trace:
                output = self.loaded.model.generate(**inputs, **options)
        except HeadRouterError as error:
            raise batch[0].failed(error, others=len(batch) - 1) from error
        new = output[:, inputs["input_ids"].shape[1] :].cpu()
        seconds = time.perf_counter() - start
        self.tally.add(trace, int((new != frontend.tokenizer.pad_token_id).sum()), seconds)
        return [generation.cut(frontend.decode(row)) for row in new]

    def _prepare(self, question: Question) -> tuple[dict[str, torch.Tensor], Selector]:
        """Return a question's inputs and its selector."""
        frontend = self.loaded.frontend
        try:
            audios = question.audios(frontend.sample_rate, frontend.max_seconds)
            row = frontend.inputs(audios, question.prompt, self._settings.system_prompt)
        except HeadRouterError as error:
            raise question.failed(error) from error
        selector = build_selector(
            self._kind,
            profile=self._profile,
            seed=self._settings.seed,
            audios=audios,
            frontend=frontend,
        )
        return row, selector

    def _pruning(self, selector: Selector) -> AbstractContextManager[Trace]:
        return prune(
            self.loaded.model,
            selector,
            self._settings.ratio,
            self._layer,
            force=self._settings.force,
        )
