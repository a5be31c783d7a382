"""What a sample costs ``calibrate``: replays from a shared prefix, and the naive form of them.

Head ablation asks for the loss of one answer under dozens of kept sets. ``calibrate`` runs encoder
and layers 0..M-1 once, and the later layers for many sets at once; the naive form runs the whole
model once a set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch

from benchmarks.measuring.bench import Bench
from benchmarks.measuring.clock import summary
from benchmarks.measuring.memory import peak_bytes
from benchmarks.subjects import prompts
from benchmarks.subjects.shapes import FRONT_END_SECONDS
from calibrate.estimation.ablation import EXPONENT, TEXT_TOKENS, ablate, head_variants
from calibrate.estimation.bench import Bench as Workbench
from calibrate.estimation.bench import kept_by
from calibrate.estimation.replay.layers import answer_nll
from calibrate.estimation.samples.sample import Sample
from calibrate.models.frontends.base import FrontEnd
from calibrate.models.named import Loaded
from headrouter_core import Selection, View, prune
from headrouter_core.selectors import Need

#: The ratio that is ablated at, and tokens of the answer.
RATIO, ANSWER_TOKENS = 0.6, 8


@dataclass(frozen=True)
class Given:
    """Keeps what it is told to."""

    name: ClassVar[str] = "given"
    needs: ClassVar[Need] = Need.NOTHING
    text_tokens: ClassVar[str] = "all"

    kept: torch.Tensor

    def __call__(self, view: View, k: int) -> Selection:
        """Return the tokens given."""
        return Selection(self.kept.to(view.device, non_blocking=True))


class _Questions:
    """The part of a front end that the workbench asks: a question about noise, and its answer."""

    sample_rate, max_seconds = 16_000, FRONT_END_SECONDS

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._front_end = prompts.FrontEnd(bench.shape, bench.seed)

    def inputs(
        self,
        audios: list[np.ndarray],
        prompt: str,
        system: str | None = None,
        answer: str | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the model's inputs; whatever the texts are, their tokens are drawn."""
        inputs = self._front_end.inputs(audios[0], self._bench.device)
        if answer is not None:
            ids = inputs["input_ids"]
            inputs["input_ids"] = torch.cat([ids, ids[:, :ANSWER_TOKENS]], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        return inputs

    def answer_ids(self, answer: str) -> list[int]:
        """Return as many tokens as any answer has: :meth:`inputs` draws which."""
        return list(range(ANSWER_TOKENS))


def measure_calibration(bench: Bench, seconds: float) -> dict[str, Any]:
    """Head ablation of one sample at one ratio, as ``calibrate`` does it and naively.

    Making the inputs is a part of both. Beside the times stands the largest difference between
    losses of the two, in nats a token. The naive form runs once, as its sets are many; their times
    say how much it varies.
    """
    loaded, sample = _loaded(bench), _sample(seconds, bench.seed)

    def shared() -> dict[str, float]:
        # what a workbench has run it remembers, so each round has its own
        def run() -> None:
            ablate([Workbench(loaded, sample, bench.layer)], (RATIO,))

        return {"seconds": bench.clock.seconds(run)}

    workbench = Workbench(loaded, sample, bench.layer)
    sets = _kept_sets(workbench)
    losses = [outcome.nll for outcome in workbench.outcomes(sets)]
    began = bench.clock.now()
    naive = _Naive(bench, loaded, sample)
    making = bench.clock.now() - began
    naive.nll(sets[0])  # warms up
    timed = [(bench.clock.now(), naive.nll(kept), bench.clock.now()) for kept in sets]
    a_set = [ended - started for started, _, ended in timed]
    whole = making + sum(a_set)
    taken = [shared()["seconds"] for _ in range(bench.repeats)]
    differences = [abs(found - loss) for (_, found, _), loss in zip(timed, losses, strict=True)]
    return {
        "ratio": RATIO,
        "answer_tokens": ANSWER_TOKENS,
        "kept_sets": len(sets),
        "shared": {"seconds": summary(taken), "peak_bytes": peak_bytes(bench.device, shared)},
        "naive": {
            "seconds": whole,
            "a_set": summary(a_set),
            "peak_bytes": peak_bytes(bench.device, lambda: naive.nll(sets[0])),
        },
        "speedup": summary([whole / one for one in taken]),
        "largest_difference": max(differences),
    }


def _loaded(bench: Bench) -> Loaded:
    return Loaded(
        model=bench.model,
        frontend=cast(FrontEnd, _Questions(bench)),
        name=bench.shape.name,
        id="random",
        revision=None,
        device=bench.device,
        dtype=getattr(torch, bench.shape.dtype),
        reasons=(),
    )


def _sample(seconds: float, seed: int) -> Sample:
    noise = prompts.recording(seconds, seed)
    return Sample(
        id=f"noise/{seconds:g}s",
        task="none",
        group="semantic",
        prompt="drawn",
        answer="drawn",
        cluster="noise",
        fold=0,
        read=lambda max_seconds: noise,
    )


def _kept_sets(workbench: Workbench) -> list[torch.Tensor]:
    """Return the different sets that the ablation of this sample asks for."""
    probe = workbench.probe(TEXT_TOKENS)
    sets = (kept_by(probe, weights, RATIO, EXPONENT) for weights in head_variants(len(probe)))
    return list({kept.numpy().tobytes(): kept for kept in sets}.values())


class _Naive:
    """One forward of everything for each kept set."""

    def __init__(self, bench: Bench, loaded: Loaded, sample: Sample) -> None:
        self._bench = bench
        audio = sample.read(max_seconds=FRONT_END_SECONDS)
        self._inputs = loaded.frontend.inputs([audio], sample.prompt, answer=sample.answer)
        self._answer = self._inputs["input_ids"][0, -ANSWER_TOKENS:]

    @torch.no_grad()
    def nll(self, kept: torch.Tensor) -> float:
        """Return the answer's mean negative log-likelihood, nats a token."""
        model = self._bench.model
        with prune(model, Given(kept), keep=len(kept), layer=self._bench.layer):
            logits = model(**self._inputs, use_cache=False).logits
        return float(answer_nll(logits[:, -ANSWER_TOKENS - 1 : -1], self._answer)[0])
