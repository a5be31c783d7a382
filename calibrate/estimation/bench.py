"""Pruned losses of the calibration samples: layers 0..M-1 run once, each kept set once.

Every stage of a calibration asks the same question of a sample: how well does the model answer when
it keeps exactly these audio tokens? The workbench holds each sample's prefix (the states on entry
to the pruning layer), runs the rest of the model on batches of kept sets, and remembers what it has
run, so that stages share their work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from calibrate.estimation.replay.layers import answer_divergence, answer_nll, replay
from calibrate.estimation.replay.prefix import Prefix, capture
from calibrate.estimation.samples.sample import Sample
from calibrate.models.named import Loaded
from calibrate.sound.reading import SAMPLE_RATE, resample
from headrouter_core import scoring
from headrouter_core.errors import NonFiniteError
from headrouter_core.selectors import Selection

#: Tokens that one batch of replays may hold, by kind of device.
_BATCH_TOKENS = {"cpu": 8_192, "cuda": 65_536}


@dataclass(frozen=True)
class Outcome:
    """How the model does on one sample with one kept set."""

    nll: float
    """Mean negative log-likelihood of the reference answer, nats per token."""
    right: bool
    """Whether greedy decoding gives exactly the reference answer."""
    divergence: float | None = None
    """Mean Jensen-Shannon divergence from the unpruned model's tokens, nats per answer token, in
    [0, log 2]; None where :meth:`Bench.unpruned` was not asked before."""


class Bench:
    """One sample, ready to be pruned in any way."""

    def __init__(self, loaded: Loaded, sample: Sample, layer: int) -> None:
        model = loaded.model
        samples = sample.read(max_seconds=loaded.frontend.max_seconds)
        audio = resample(samples, SAMPLE_RATE, loaded.frontend.sample_rate)
        inputs = loaded.frontend.inputs([audio], sample.prompt, sample.system, sample.answer)
        answer = len(loaded.frontend.answer_ids(sample.answer))
        self.sample = sample
        inputs = loaded.place(inputs)
        self._model = model
        with _named(sample):
            prompt_length = inputs["input_ids"].shape[1] - answer
            self._prefix: Prefix = capture(model, inputs, layer, prompt_length)
        self._answer = self._prefix.answer_ids.to(model.device)
        self._probes: dict[str, torch.Tensor] = {}
        self._outcomes: dict[bytes, Outcome] = {}
        self._reference: torch.Tensor | None = None

    @property
    def audio_tokens(self) -> int:
        """N_a."""
        return len(self._prefix.audio)

    def probe(self, text_tokens: str) -> torch.Tensor:
        """The probe [H, N_a] with the queries of some text tokens, see :mod:`.prefix`."""
        if text_tokens not in self._probes:
            view = self._prefix.seen_by(text_tokens)
            assert view.queries is not None
            assert view.keys is not None
            self._probes[text_tokens] = scoring.probe(view.queries, view.keys, view.scale).cpu()
        return self._probes[text_tokens]

    def selectivity(self, text_tokens: str) -> torch.Tensor:
        """Selectivity [H] of the probe."""
        return scoring.selectivity(self.probe(text_tokens))

    @property
    def states(self) -> torch.Tensor:
        """States [N_a, D] of the audio tokens on entry to the pruning layer, on the CPU."""
        return self._prefix.hidden_states[self._prefix.audio].cpu()

    @torch.inference_mode()
    def unpruned(self) -> Outcome:
        """The outcome without pruning, which those asked for later are compared with."""
        everything = torch.arange(self.audio_tokens)[None]
        self._reference = replay(self._model, self._prefix, everything)
        self._outcomes.clear()
        (outcome,) = self.outcomes([everything[0]])
        return outcome

    def outcomes(self, kept_sets: Sequence[torch.Tensor]) -> list[Outcome]:
        """The outcome of each kept set (LongTensor [k] on the CPU, ascending)."""
        keys = [kept.numpy().tobytes() for kept in kept_sets]
        todo: dict[int, dict[bytes, torch.Tensor]] = {}
        for key, kept in zip(keys, kept_sets, strict=True):
            if key not in self._outcomes:
                todo.setdefault(len(kept), {})[key] = kept
        for sets in todo.values():
            found = self._run([Selection(kept) for kept in sets.values()])
            self._outcomes.update(zip(sets, found, strict=True))
        return [self._outcomes[key] for key in keys]

    def merged(self, selections: Sequence[Selection]) -> list[Outcome]:
        """The outcome of each selection, whose kept tokens may get other states.

        Those with other states are not remembered; the rest are kept sets like any other.
        """
        plain = [selection.kept for selection in selections if selection.states is None]
        known = iter(self.outcomes(plain))
        by_count: dict[int, list[int]] = {}
        found: dict[int, Outcome] = {}
        for index, selection in enumerate(selections):
            if selection.states is None:
                found[index] = next(known)
            else:
                by_count.setdefault(len(selection.kept), []).append(index)
        for indices in by_count.values():
            outcomes = self._run([selections[index] for index in indices])
            found.update(zip(indices, outcomes, strict=True))
        return [found[index] for index in range(len(selections))]

    @torch.inference_mode()
    def _run(self, selections: Sequence[Selection]) -> list[Outcome]:
        """Run selections that keep equally many tokens, all with other states or none."""
        length = len(self._prefix.hidden_states) - self.audio_tokens + len(selections[0].kept)
        step = max(1, _BATCH_TOKENS.get(self._model.device.type, 8_192) // length)
        found: list[Outcome] = []
        for start in range(0, len(selections), step):
            chunk = selections[start : start + step]
            kept = torch.stack([selection.kept for selection in chunk]).to(self._model.device)
            given = [selection.states for selection in chunk if selection.states is not None]
            states = torch.stack(given).to(self._model.device) if given else None
            with _named(self.sample):
                logits = replay(self._model, self._prefix, kept, states)
            nll = answer_nll(logits, self._answer).tolist()
            right = (logits.argmax(-1) == self._answer).all(-1).tolist()
            apart: list[float | None] = [None] * len(nll)
            if self._reference is not None:
                apart = answer_divergence(logits, self._reference).tolist()
            found += map(Outcome, nll, right, apart)
        return found


@contextmanager
def _named(sample: Sample) -> Iterator[None]:
    """Say of which sample numbers are not finite."""
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(f"{sample.id}: {error}", weight=error.weight) from error


def kept_by(
    probe: torch.Tensor, weights: torch.Tensor, ratio: float, exponent: float
) -> torch.Tensor:
    """The tokens that HeadRouter keeps with fixed head weights [H]: LongTensor [k]."""
    k = scoring.keep_count(probe.shape[1], ratio)
    return scoring.top_k(scoring.candidate_importance(probe, weights, k, exponent), k)


def kept_by_frame(audio_tokens: int, ratio: float) -> torch.Tensor:
    """The tokens that Frame keeps: LongTensor [k]."""
    return scoring.frame_indices(audio_tokens, scoring.keep_count(audio_tokens, ratio))
