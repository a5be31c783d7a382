"""Metrics, each a function of counts that add up over samples.

That form serves the bootstrap: a resample is a weighted sum of counts, and the metric is computed
anew from it. Macro-F1 and corpus WER are no means of per-sample values, so nothing less will do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

from calibrate.evaluation.scoring.items import CHOICE, LABEL, TRANSCRIPT
from calibrate.evaluation.scoring.normalisers import audiomarathon

Answers = Sequence[str | None]


def label_counts(references: Sequence[str], predictions: Answers) -> np.ndarray:
    """Count hits, predictions and occurrences of each label that occurs in the references.

    A prediction that is ``None`` (unparsed) or no such label misses its reference like any other
    wrong one.

    Returns:
        float64 [n, 3, L], the L labels in sorted order.
    """
    labels = np.array(sorted(set(references)))
    # as objects, so that None and labels of any length compare as they are
    expected = np.array(references, dtype=object)[:, None] == labels
    predicted = np.array(predictions, dtype=object)[:, None] == labels
    if len(expected) != len(predicted):
        raise ValueError(f"{len(expected)} references and {len(predicted)} predictions")
    return np.stack([expected & predicted, predicted, expected], axis=1).astype(float)


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Return the unweighted mean of the F1 scores of the labels that occur: [..., 3, L] -> [...].

    Labels that occur in this sum of counts, that is: one that a resample lost takes no part in it.
    NaN where none occurs.
    """
    f1, occurrences = _f1(counts)
    return _ratio((f1 * (occurrences > 0)).sum(-1), (occurrences > 0).sum(-1))


def weighted_f1(counts: np.ndarray) -> np.ndarray:
    """Return the mean of the labels' F1 scores, weighted by occurrence: [..., 3, L] -> [...]."""
    f1, occurrences = _f1(counts)
    return _ratio((f1 * occurrences).sum(-1), occurrences.sum(-1))


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Return the share of right answers among all: [..., 3, L] -> [...]."""
    return _ratio(counts[..., 0, :].sum(-1), counts[..., 2, :].sum(-1))


def edit_counts(references: Sequence[str], transcripts: Answers) -> np.ndarray:
    """Count word errors after normalising both sides by ``audiomarathon``.

    An empty transcript, or ``None``, misses every word: 100 % WER.

    Returns:
        float64 [n, 4]: word errors (substitutions, deletions, insertions), words of the reference,
        their quotient (the sample's WER), and 1.

    Raises:
        ValueError: a reference has no words.
    """
    rows = []
    for reference, transcript in zip(references, transcripts, strict=True):
        wanted = audiomarathon(reference)
        if not wanted:
            raise ValueError(f"the reference transcript {reference!r} has no words")
        found = jiwer.process_words(wanted, audiomarathon(transcript or ""))
        errors = found.substitutions + found.deletions + found.insertions
        words = found.hits + found.substitutions + found.deletions
        rows.append([errors, words, errors / words, 1.0])
    return np.array(rows, dtype=float).reshape(-1, 4)


def corpus_wer(counts: np.ndarray) -> np.ndarray:
    """Return errors of all samples per word of all references: [..., 4] -> [...]."""
    return _ratio(counts[..., 0], counts[..., 1])


def mean_wer(counts: np.ndarray) -> np.ndarray:
    """Return the mean of the samples' WERs, as AudioMarathon reports it: [..., 4] -> [...]."""
    return _ratio(counts[..., 2], counts[..., 3])


def war(counts: np.ndarray) -> np.ndarray:
    """Return the word accuracy rate, 1 - corpus WER: [..., 4] -> [...]. Insertions can make it
    negative; it is not clipped.
    """
    return 1 - corpus_wer(counts)


@dataclass(frozen=True)
class Headline:
    """The metric that stands for a kind of item."""

    name: str
    counts: Callable[[Sequence[str], Answers], np.ndarray]
    """References and answers -> [n, ...]."""
    value: Callable[[np.ndarray], np.ndarray]
    """Sums of counts -> values."""


_MACRO_F1 = Headline("macro_f1", label_counts, macro_f1)
#: Kind of item -> its headline metric. Items of a kind that is not here have no metric.
HEADLINES = {
    CHOICE: _MACRO_F1,
    LABEL: _MACRO_F1,
    TRANSCRIPT: Headline("war", edit_counts, war),
}
#: The metric of classifiers that are trained on states, as X-ARES has it.
ACCURACY = {LABEL: Headline("accuracy", label_counts, accuracy)}


def summary(kind: str, references: Sequence[str], answers: Answers) -> dict[str, float]:
    """Every metric of one task, the headline first. Unparsed answers are wrong in each."""
    total = HEADLINES[kind].counts(references, answers).sum(axis=0)
    parsed = sum(answer is not None for answer in answers) / len(references)
    if kind == TRANSCRIPT:
        metrics = {
            "war": war(total),
            "war_clipped": np.maximum(war(total), 0),
            "corpus_wer": corpus_wer(total),
            "mean_wer": mean_wer(total),
        }
    else:
        metrics = {
            "macro_f1": macro_f1(total),
            "weighted_f1": weighted_f1(total),
            "accuracy": accuracy(total),
        }
    return {name: float(value) for name, value in metrics.items()} | {"parse_rate": parsed}


def scores(kind: str, references: Sequence[str], answers: Answers) -> np.ndarray:
    """The score of each sample [n]: 1 for right and 0 for wrong, or 1 minus the sample's WER."""
    if kind == TRANSCRIPT:
        return 1 - edit_counts(references, answers)[:, 2]
    return np.array([float(a == b) for a, b in zip(references, answers, strict=True)])


def _f1(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels' F1 scores and occurrences, both [..., L]; 0 where there are neither."""
    hits, predictions, occurrences = np.moveaxis(counts, -2, 0)
    both = predictions + occurrences
    return 2 * hits / np.where(both > 0, both, 1), occurrences


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Quotients; NaN where there is nothing to divide by."""
    undefined = np.full(np.shape(part), np.nan)
    return np.asarray(np.divide(part, whole, out=undefined, where=np.asarray(whole) > 0))
