"""Metrics that read no answer: likelihoods of the options, and divergence from vanilla.

Pure functions of logits as :func:`calibrate.estimation.replay.layers.replay` returns them:
[V, n, vocabulary] for V variants (methods and ratios) of one item, predicting the n tokens of a
given answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class OptionScores:
    """How likely a model holds each option of an item, in nats."""

    summed: torch.Tensor
    """float32 [V, O]: log-likelihood of the option's whole text. Shorter options are favoured."""
    per_token: torch.Tensor
    """float32 [V, O]: the same divided by the option's number of tokens."""

    def chosen(self, *, by_token: bool) -> torch.Tensor:
        """LongTensor [V]: the likeliest option, of equal ones the first."""
        return (self.per_token if by_token else self.summed).argmax(dim=1)


def option_scores(
    logits: Sequence[torch.Tensor], option_ids: Sequence[torch.Tensor]
) -> OptionScores:
    """Score the options of one item, none of which has to be generated.

    Args:
        logits: of each option, [V, n_o, vocabulary]: what predicts its n_o tokens, each given the
            prompt and the option's tokens before it.
        option_ids: of each option, LongTensor [n_o]. What ends an answer (the end of turn) belongs
            to it, or an option that begins another one would always be the likelier.

    Raises:
        ValueError: no options, an empty one, or logits of another length than the option.
    """
    if not option_ids:
        raise ValueError("there are no options to score")
    sums = [_log_likelihood(*pair) for pair in zip(logits, option_ids, strict=True)]
    summed = torch.stack(sums, dim=1)
    lengths = torch.tensor([len(ids) for ids in option_ids], device=summed.device)
    return OptionScores(summed, summed / lengths)


def _log_likelihood(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-likelihood [V] of the tokens [n], summed."""
    if not len(ids) or logits.shape[1] != len(ids):
        raise ValueError(f"an option of {len(ids)} tokens has logits for {logits.shape[1]}")
    logs = logits.float().log_softmax(dim=-1)
    targets = ids.to(logs.device).expand(len(logs), -1)
    return logs.gather(-1, targets[..., None])[..., 0].sum(dim=1)


def divergence(logits: torch.Tensor, vanilla: torch.Tensor) -> torch.Tensor:
    """Return how far pruned models' answers are from vanilla's: no label is needed.

    The Kullback-Leibler divergence of the variant's distribution over the next token from
    vanilla's, KL(vanilla || variant), averaged over the tokens of vanilla's own answer, which both
    are given: 0 where pruning changes nothing.

    Args:
        logits: [V, n, vocabulary], of the variants.
        vanilla: [n, vocabulary], of the unpruned model, on the same tokens.

    Returns:
        float32 [V], nats per token, not negative.

    Raises:
        ValueError: no tokens, or shapes that do not fit.
    """
    if logits.shape[1:] != vanilla.shape or not len(vanilla):
        raise ValueError(f"logits {list(logits.shape)} do not fit vanilla's {list(vanilla.shape)}")
    expected = vanilla.float().log_softmax(dim=-1)
    found = logits.float().log_softmax(dim=-1)
    # a token that vanilla rules out (logit -inf) adds nothing; 0 x inf would be NaN
    terms = torch.where(expected > -torch.inf, expected.exp() * (expected - found), 0.0)
    # rounding can leave less than nothing
    return terms.sum(dim=-1).mean(dim=1).clamp_min(0)
