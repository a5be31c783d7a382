"""What is written of every item: who was asked what, and what each system answered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calibrate.evaluation.answers import parse
from calibrate.evaluation.comparison import VANILLA, System
from calibrate.evaluation.items import JUDGED, TRANSCRIPT, Item
from calibrate.evaluation.likelihood import divergence, option_scores
from calibrate.evaluation.metrics import scores
from calibrate.evaluation.trial import Reply, Trial
from headrouter_core.selectors import Selection

#: What is known of each reply, in the order in which a record lists it.
COLUMNS = (
    "answer",
    "complete",
    "parsed",
    "score",
    "kept",
    "indices",
    "spread",
    "mixing",
    "nll",
    "likeliest",
    "likeliest_per_token",
    "divergence",
    "replay_seconds",
    "decode_seconds",
)


@dataclass(frozen=True)
class Texts:
    """The texts whose likelihood is asked for beside the answer."""

    ids: list[torch.Tensor]
    """LongTensor [n] each, ended: the options, or the reference transcript."""
    reference: int
    """Which of them is right."""

    @classmethod
    def of(cls, item: Item, trial: Trial) -> Texts:
        """Options of a choice; of a transcript the reference; none for an outside judge."""
        if item.kind == JUDGED:
            return cls([], -1)
        if item.kind == TRANSCRIPT:
            return cls([trial.encode(item.reference)], 0)
        reference = item.labels.index(item.reference)
        return cls([trial.encode(text) for text in item.answers], reference)


def record(
    trial: Trial,
    texts: Texts,
    replies: dict[System, tuple[Selection, Reply]],
) -> dict[str, Any]:
    """Return the line of one item.

    Args:
        trial: the item.
        texts: what the first logits of every reply are of; vanilla's own answer follows.
        replies: what each system kept and said, vanilla first.
    """
    item = trial.item
    vanilla = replies[VANILLA][1]
    return {
        "id": item.id,
        "task": item.task,
        "group": item.group,
        "kind": item.kind,
        "cluster": item.cluster,
        "prompt": hashlib.sha256(f"{item.system}\0{item.prompt}".encode()).hexdigest()[:16],
        "reference": item.reference,
        "audio_tokens": trial.audio_tokens,
        "prefill_seconds": round(trial.seconds, 5),
        "replies": [
            _reply(item, texts, selection, reply, vanilla) for selection, reply in replies.values()
        ],
    }


def _reply(
    item: Item, texts: Texts, selection: Selection, reply: Reply, vanilla: Reply
) -> list[Any]:
    """Return the columns of one reply."""
    parsed = None if item.kind == JUDGED else parse(item, reply.text)
    score = None
    if item.kind != JUDGED:
        score = round(float(scores(item.kind, [item.reference], [parsed])[0]), 6)
    nll, likeliest, per_token = _likelihoods(item, texts, reply)
    kept = selection.kept.cpu()
    values = {
        "answer": reply.text,
        "complete": reply.complete,
        "parsed": parsed,
        "score": score,
        "kept": len(kept),
        "indices": hashlib.sha256(kept.int().numpy().tobytes()).hexdigest()[:16],
        "spread": None if selection.spread is None else round(float(selection.spread), 6),
        "mixing": None if selection.mixing is None else _rounded(selection.mixing.tolist()),
        "nll": nll,
        "likeliest": likeliest,
        "likeliest_per_token": per_token,
        "divergence": round(float(divergence(reply.logits[-1][None], vanilla.logits[-1])[0]), 6),
        "replay_seconds": round(reply.replay_seconds, 5),
        "decode_seconds": round(reply.decode_seconds, 5),
    }
    return [values[name] for name in COLUMNS]


def _likelihoods(
    item: Item, texts: Texts, reply: Reply
) -> tuple[float | None, str | None, str | None]:
    """Return the NLL of the right text, nats per token, and the labels of the likeliest options."""
    if not texts.ids:
        return None, None, None
    of_texts = [logits[None] for logits in reply.logits[: len(texts.ids)]]
    found = option_scores(of_texts, texts.ids)
    nll = round(-float(found.per_token[0, texts.reference]), 6)
    if item.kind == TRANSCRIPT:
        return nll, None, None
    labels = [item.labels[int(found.chosen(by_token=way)[0])] for way in (False, True)]
    return nll, labels[0], labels[1]


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]
