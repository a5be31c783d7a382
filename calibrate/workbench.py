"""Pruned losses of the calibration samples: layers 0..M-1 run once, each kept set once.

Every stage of a calibration asks the same question of a sample: how well does the model answer when
it keeps exactly these audio tokens? The workbench holds each sample's prefix (the states on entry
to the pruning layer), runs the rest of the model on batches of kept sets, and remembers what it has
run, so that stages share their work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from calibrate.models import Loaded
from calibrate.samples import Sample
from headrouter_core import scoring
from headrouter_core.prefix import Prefix, capture
from headrouter_core.replay import answer_nll, replay

#: Tokens that one batch of replays may hold, by kind of device.
_BATCH_TOKENS = {"cpu": 8_192, "cuda": 65_536}


@dataclass(frozen=True)
class Outcome:
    """How the model does on one sample with one kept set."""

    nll: float
    """Mean negative log-likelihood of the reference answer, nats per token."""
    right: bool
    """Whether greedy decoding gives exactly the reference answer."""


class Bench:
    """One sample, ready to be pruned in any way."""

    def __init__(self, loaded: Loaded, sample: Sample, layer: int) -> None:
        model = loaded.model
        audio = sample.read()
        inputs = loaded.frontend.inputs([audio], sample.prompt, answer=sample.answer)
        prompt = loaded.frontend.inputs([audio], sample.prompt)
        self.sample = sample
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        self._model = model
        self._prefix: Prefix = capture(model, inputs, layer, prompt["input_ids"].shape[1])
        self._answer = self._prefix.answer_ids.to(model.device)
        self._probes: dict[str, torch.Tensor] = {}
        self._outcomes: dict[bytes, Outcome] = {}

    @property
    def audio_tokens(self) -> int:
        """N_a."""
        return len(self._prefix.audio)

    def probe(self, text_tokens: str) -> torch.Tensor:
        """The probe [H, N_a] with the queries of ``all`` text tokens or of those ``after``."""
        if text_tokens not in self._probes:
            view = self._prefix.seen_by(text_tokens)
            assert view.queries is not None
            assert view.keys is not None
            self._probes[text_tokens] = scoring.probe(view.queries, view.keys, view.scale).cpu()
        return self._probes[text_tokens]

    def selectivity(self, text_tokens: str) -> torch.Tensor:
        """Selectivity [H] of the probe."""
        return scoring.selectivity(self.probe(text_tokens))

    def outcomes(self, kept_sets: Sequence[torch.Tensor]) -> list[Outcome]:
        """The outcome of each kept set (LongTensor [k] on the CPU, ascending)."""
        keys = [kept.numpy().tobytes() for kept in kept_sets]
        todo: dict[int, dict[bytes, torch.Tensor]] = {}
        for key, kept in zip(keys, kept_sets, strict=True):
            if key not in self._outcomes:
                todo.setdefault(len(kept), {})[key] = kept
        for size, sets in todo.items():
            self._run(size, list(sets.items()))
        return [self._outcomes[key] for key in keys]

    @torch.inference_mode()
    def _run(self, size: int, sets: list[tuple[bytes, torch.Tensor]]) -> None:
        length = len(self._prefix.hidden_states) - self.audio_tokens + size
        step = max(1, _BATCH_TOKENS.get(self._model.device.type, 8_192) // length)
        for start in range(0, len(sets), step):
            chunk = sets[start : start + step]
            kept = torch.stack([indices for _, indices in chunk]).to(self._model.device)
            logits = replay(self._model, self._prefix, kept)
            nll = answer_nll(logits, self._answer).tolist()
            right = (logits.argmax(-1) == self._answer).all(-1).tolist()
            for (key, _), loss, hit in zip(chunk, nll, right, strict=True):
                self._outcomes[key] = Outcome(loss, hit)


def kept_by(
    probe: torch.Tensor, weights: torch.Tensor, ratio: float, exponent: float
) -> torch.Tensor:
    """The tokens that HeadRouter keeps with fixed head weights [H]: LongTensor [k]."""
    k = scoring.keep_count(probe.shape[1], ratio)
    return scoring.top_k(scoring.candidate_importance(probe, weights, k, exponent), k)


def kept_by_frame(audio_tokens: int, ratio: float) -> torch.Tensor:
    """The tokens that Frame keeps: LongTensor [k]."""
    return scoring.frame_indices(audio_tokens, scoring.keep_count(audio_tokens, ratio))
