"""Saying given texts in rows of a batch that also answers freely: so likelihoods cost one run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor


class Forced(LogitsProcessor):
    """Lets every row but the first of each choice say a given text.

    Args:
        texts: LongTensor [n] each; rows are one free answer and then these, for each choice.
        start: columns of the prompt.
    """

    def __init__(self, texts: Sequence[torch.Tensor], start: int) -> None:
        self._texts, self._start = texts, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave one token possible in the rows whose text is not over."""
        step, each = input_ids.shape[1] - self._start, 1 + len(self._texts)
        scores = scores.clone()
        for number, text in enumerate(self._texts, 1):
            if step < len(text):
                rows = slice(number, None, each)
                scores[rows] = -torch.inf
                scores[rows, text[step]] = 0
        return scores
