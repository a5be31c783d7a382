"""Pruned losses of the calibration samples: layers 0..M-1 run once, each kept set once.

Every stage of a calibration asks the same question of a sample: how well does the model answer when
it keeps exactly these audio tokens? The workbench holds each sample's prefix (the states on entry
to the pruning layer), runs the rest of the model on batches of kept sets, and remembers what it has
run, so that stages share their work.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import torch

from calibrate.estimation.replay.holding import HeldSample, Record, named
from calibrate.estimation.replay.layers import answer_divergence, answer_nll, replay
from calibrate.estimation.replay.parking import Parking
from calibrate.estimation.replay.prefix import Prefix
from calibrate.estimation.samples.sample import Sample
from calibrate.models.named import Loaded
from calibrate.running.work import Work
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


#: What to keep of a sample: kept sets (LongTensor [k] on the CPU, ascending), or selections, whose
#: tokens may get other states.
Question = Callable[["Bench"], Sequence[torch.Tensor | Selection]]


class Bench(HeldSample):
    """One sample, ready to be pruned in any way."""

    def __init__(
        self, loaded: Loaded, sample: Sample, layer: int, parking: Parking | None = None
    ) -> None:
        super().__init__(loaded, sample, layer, parking)
        self._outcomes: dict[str, Outcome] = {}
        self._reference: torch.Tensor | None = None

    @torch.inference_mode()
    def unpruned(self) -> Outcome:
        """The outcome without pruning, which those asked for later are compared with."""
        everything = torch.arange(self.audio_tokens)[None]
        with self.at_hand() as held:
            self._reference = replay(self.loaded.model, held.prefix, everything)
            self._outcomes.clear()
            (outcome,) = self.outcomes([everything[0]])
        return outcome

    def ask(self, question: Question) -> Record:
        """What a question comes to, for :meth:`recall`: its sets by name, and those run for it."""
        with self.at_hand():
            sets = question(self)
            known = self._outcomes.keys() | set()
            self.outcomes(sets)
        row = [_name(kept) for kept in sets]
        new = {name: astuple(self._outcomes[name]) for name in row if name not in known}
        return {"row": row, "outcomes": new}

    def recall(self, record: Record) -> list[Outcome]:
        """The outcomes that :meth:`ask` found, perhaps in another process; they are known now."""
        self._outcomes |= {name: Outcome(*told) for name, told in record["outcomes"].items()}
        return [self._outcomes[name] for name in record["row"]]

    def outcomes(self, kept_sets: Sequence[torch.Tensor | Selection]) -> list[Outcome]:
        """The outcome of each kept set, or selection; sets that were run are not run again."""
        names = [_name(kept) for kept in kept_sets]
        todo: dict[tuple[int, bool], dict[str, Selection]] = {}
        for name, kept in zip(names, map(_selection, kept_sets), strict=True):
            if name not in self._outcomes:
                kind = len(kept.kept), kept.states is not None
                todo.setdefault(kind, {})[name] = kept
        for sets in todo.values():
            with self.at_hand() as held:
                found = self._run(held.prefix, list(sets.values()))
            self._outcomes.update(zip(sets, found, strict=True))
        return [self._outcomes[name] for name in names]

    @torch.inference_mode()
    def _run(self, prefix: Prefix, selections: Sequence[Selection]) -> list[Outcome]:
        """Run selections that keep equally many tokens, all with other states or none."""
        model = self.loaded.model
        answer = prefix.answer_ids.to(model.device)
        length = len(prefix.hidden_states) - self.audio_tokens + len(selections[0].kept)
        step = max(1, _BATCH_TOKENS.get(model.device.type, 8_192) // length)
        found: list[Outcome] = []
        for start in range(0, len(selections), step):
            chunk = selections[start : start + step]
            kept = torch.stack([selection.kept for selection in chunk]).to(model.device)
            given = [selection.states for selection in chunk if selection.states is not None]
            states = torch.stack(given).to(model.device) if given else None
            with named(self.sample):
                logits = replay(model, prefix, kept, states)
            nll = answer_nll(logits, answer).tolist()
            if not all(map(math.isfinite, nll)):
                raise NonFiniteError(
                    f"{self.id}: the model rules out the reference answer {self.sample.answer!r}:"
                    " its loss is infinite; give another answer, or leave the sample out"
                )
            right = (logits.argmax(-1) == answer).all(-1).tolist()
            apart: list[float | None] = [None] * len(nll)
            if self._reference is not None:
                apart = answer_divergence(logits, self._reference).tolist()
            found += map(Outcome, nll, right, apart)
        return found


def _selection(kept: torch.Tensor | Selection) -> Selection:
    return kept if isinstance(kept, Selection) else Selection(kept)


def _name(kept: torch.Tensor | Selection) -> str:
    """Digest of what is kept and of the states that it gets: names a set in a journal."""
    selection = _selection(kept)
    digest = hashlib.sha256(selection.kept.numpy().tobytes())
    if selection.states is not None:
        states = selection.states.contiguous()
        digest.update(f"{states.dtype}{list(states.shape)}".encode())
        digest.update(states.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:20]


def prepare(
    loaded: Loaded,
    samples: Sequence[Sample],
    layer: int,
    work: Work,
    parking: Parking | None,
    tick: Callable[[], None],
) -> list[Bench]:
    """Run layers 0..M-1 for every sample; what the journal of ``work`` holds is not run.

    Without ``parking`` all run, and stay on the device.
    """
    benches = [Bench(loaded, sample, layer, parking) for sample in samples]
    for bench, record in zip(
        benches, work.each("encoding", benches, Bench.encode, tick), strict=True
    ):
        bench.recall_encoding(record)
    return benches


def asked(
    work: Work, stage: str, benches: Sequence[Bench], question: Question, tick: Callable[[], None]
) -> list[list[Outcome]]:
    """The outcomes of a question to each sample; what the journal of ``work`` holds is not run."""
    records = work.each(stage, benches, lambda bench: bench.ask(question), tick)
    return [bench.recall(record) for bench, record in zip(benches, records, strict=True)]


def kept_by(
    probe: torch.Tensor, weights: torch.Tensor, ratio: float, exponent: float
) -> torch.Tensor:
    """The tokens that HeadRouter keeps with fixed head weights [H]: LongTensor [k]."""
    k = scoring.keep_count(probe.shape[1], ratio)
    return scoring.top_k(scoring.candidate_importance(probe, weights, k, exponent), k)


def kept_by_frame(audio_tokens: int, ratio: float) -> torch.Tensor:
    """The tokens that Frame keeps: LongTensor [k]."""
    return scoring.frame_indices(audio_tokens, scoring.keep_count(audio_tokens, ratio))
