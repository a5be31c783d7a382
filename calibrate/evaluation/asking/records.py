"""What is written of every item: who was asked what, and what each system answered.

Most systems say the same about an item, keep tokens for the same reason, and were asked in the same
batch. So a record holds each answer, routing and batch once, in tables of its own, and of each
reply the numbers of its lines in them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from calibrate.evaluation.asking.replies import Reply
from calibrate.evaluation.asking.trial import Trial
from calibrate.evaluation.scoring.answers import parse
from calibrate.evaluation.scoring.items import JUDGED, TRANSCRIPT, Item
from calibrate.evaluation.scoring.likelihood import divergence, option_scores
from calibrate.evaluation.scoring.metrics import scores
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.terminal.errors import ModelError
from headrouter_core.selectors import Selection

#: Of records, journals and results: those of another one are not mixed with these.
SCHEMA = 2
#: What a record holds -> names of the columns of its lines. ``replies`` has one line a system; its
#: ``said``, ``routing``, ``batch`` and ``heard`` number lines of the tables below (``null``: none),
#: its ``likeliest`` the item's labels. What differs from run to run is under ``seconds`` alone.
COLUMNS = {
    "replies": (
        "said",
        "indices",
        "routing",
        "nll",
        "likeliest",
        "likeliest_per_token",
        "divergence",
        "batch",
        "heard",
    ),
    "said": ("answer", "complete", "parsed", "score"),
    "routing": ("spread", "mixing"),
    "batches": ("replay_seconds", "decode_seconds"),
    "heard": ("seconds", "audio_tokens", "kept"),
}
#: Hexadecimal digits of digests that only have to tell whether two runs agree.
_DIGITS = 8


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


class _Table:
    """Different lines, each once, by number."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def number(self, line: Any) -> int:
        return self._numbers.setdefault(line, len(self._numbers))

    def lines(self) -> list[Any]:
        return list(self._numbers)


def record(
    trial: Trial,
    texts: Texts,
    replies: Mapping[System, tuple[Selection, Reply]],
    text_tokens: str,
) -> dict[str, Any]:
    """Return the line of one item.

    Args:
        trial: the item.
        texts: what the first logits of every reply are of; vanilla's own answer follows.
        replies: what each system kept and said, vanilla first.
        text_tokens: whose queries the selectivity is of.

    Raises:
        ModelError: the model's logits are not finite.
    """
    item = trial.item
    said, routing, batches, heard = _Table(), _Table(), _Table(), _Table()
    vanilla = replies[VANILLA][1]
    lines = []
    for system, (selection, reply) in replies.items():
        numbers = {
            "said": said.number(_said(item, reply)),
            "indices": _digest(selection.kept.cpu().int().numpy().tobytes()),
            "routing": None if selection.spread is None else routing.number(_routing(selection)),
            **_likelihoods(item, texts, reply),
            "divergence": float(divergence(reply.logits[-1][None], vanilla.logits[-1])[0]),
            "batch": batches.number(reply.batch),
            "heard": heard.number(reply.heard),
        }
        lines.append([_rounded(item, system, numbers[name]) for name in COLUMNS["replies"]])
    return {
        "id": item.id,
        "task": item.task,
        "group": item.group,
        "kind": item.kind,
        "cluster": item.cluster,
        "background": item.background,
        "prompt": _digest(f"{item.system}\0{item.prompt}".encode()),
        "reference": item.reference,
        "labels": list(item.labels),
        "audio_tokens": trial.audio_tokens,
        "selectivity": [round(value, 4) for value in trial.selectivity(text_tokens).tolist()],
        "said": said.lines(),
        "routing": routing.lines(),
        "heard": [[round(line.seconds, 3), line.audio_tokens, line.kept] for line in heard.lines()],
        "replies": lines,
        "seconds": {
            "prefill": round(trial.seconds, 5),
            "batches": [
                [round(batch.replay_seconds, 5), round(batch.decode_seconds, 5)]
                for batch in batches.lines()
            ],
        },
    }


def _said(item: Item, reply: Reply) -> tuple[str, bool, str | None, float | None]:
    """Return the columns of an answer; without parse and score where a judge has to read it."""
    if item.kind == JUDGED:
        return reply.text, reply.complete, None, None
    parsed = parse(item, reply.text)
    score = float(scores(item.kind, [item.reference], [parsed])[0])
    return reply.text, reply.complete, parsed, round(score, 4)


def _routing(selection: Selection) -> tuple[float, tuple[float, ...] | None]:
    assert selection.spread is not None
    mixing = selection.mixing
    shares = None if mixing is None else tuple(round(share, 4) for share in mixing.tolist())
    return round(float(selection.spread), 6), shares


def _likelihoods(item: Item, texts: Texts, reply: Reply) -> dict[str, float | int | None]:
    """Return the NLL of the right text, nats per token, and which options are the likeliest."""
    nll = likeliest = per_token = None
    if texts.ids:
        found = option_scores(
            [logits[None] for logits in reply.logits[: len(texts.ids)]], texts.ids
        )
        nll = -float(found.per_token[0, texts.reference])
        if item.kind != TRANSCRIPT:
            likeliest, per_token = (int(found.chosen(by_token=way)[0]) for way in (False, True))
    return {"nll": nll, "likeliest": likeliest, "likeliest_per_token": per_token}


def _rounded(item: Item, system: System, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        method, ratio = system
        raise ModelError(
            f"{item.id}: the model's logits with {method} at ratio {ratio:g} are not finite; use"
            " another --dtype (float32, or bfloat16 for what float16 cannot hold)"
        )
    return round(value, 4)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
