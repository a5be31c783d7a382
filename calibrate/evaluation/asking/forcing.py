"""Saying given texts in rows of a batch that also answers freely: so likelihoods cost one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor
from transformers.cache_utils import Cache

from headrouter_core import families
from headrouter_core.families.calls import with_cache

if TYPE_CHECKING:
    from calibrate.models.named import Generative


def say(
    model: Generative, ids: torch.Tensor, cache: Cache, texts: Sequence[torch.Tensor], limit: int
) -> Any:
    """Generate greedily, up to ``limit`` tokens, and return sequences and each step's logits.

    Args:
        model: inside ``prune``, if ``cache`` is of a pruned prompt.
        ids: LongTensor [V x (1 + texts), L], the prompts.
        cache: of the prompts but for their last token; used up.
        texts: what every row but the first of each of V choices has to say.
        limit: where answers are cut off, no less than the longest text.
    """
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        **with_cache(type(families.locate(model).root).forward, cache),
        max_new_tokens=limit,
        do_sample=False,
        num_beams=1,
        logits_processor=[Forced(texts, ids.shape[1])],
        return_dict_in_generate=True,
        output_logits=True,
    )


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
