"""How many tokens stay, and how much each is worth: equations 4-11 and 15-17 of arXiv 2604.23717.

Pure functions: they know no model, keep the input's device, accumulate in float32 or better (also
under autocast) and never synchronise host and device. Shapes use H query heads, H_kv key-value
heads, N_t text tokens, N_a audio tokens and head dimension d. What is passed has to have its shape
and a floating dtype; ``UsageError`` says where it has not.
"""

from __future__ import annotations

import math
import numbers
import re
from decimal import Decimal
from fractions import Fraction

import torch

from headrouter_core.basics.arguments import floating, real, shown, whole
from headrouter_core.basics.precision import accumulating, full_precision
from headrouter_core.errors import UsageError

#: Bound on each of the three buffers that :func:`probe` holds at a time: affinities, their softmax,
#: and keys in the accumulation dtype.
SCORE_BYTES = 64 * 2**20

#: Exponents of ratios, as strings, that would take minutes to write out as a fraction.
_VAST = re.compile(r"e[+-]?\d{4,}", re.IGNORECASE)

#: Relative distance below which a float product counts as the whole number that it stands for.
_FUZZ = 1e-9


def exact_ratio(ratio: float | str | Decimal | Fraction) -> Fraction:
    """Return a pruning ratio at its decimal value, so that 0.9 is nine tenths and not a float.

    Raises:
        UsageError: not a number, or outside [0, 1).
    """
    known = isinstance(ratio, numbers.Real | Decimal | str) and not isinstance(ratio, bool)
    try:
        if not known or _VAST.search(str(ratio)):
            raise ValueError(ratio)
        exact = ratio if isinstance(ratio, Fraction) else Fraction(str(ratio))
    except (ValueError, ZeroDivisionError) as error:
        wanted = "give a number in [0, 1), say 0.6"
        raise UsageError(f"ratio {shown(ratio)} is not a number; {wanted}") from error
    if not 0 <= exact < 1:
        raise UsageError(f"ratio {ratio} is outside [0, 1); 0.6 removes 60 % of the audio tokens")
    return exact


def keep_count(n: int, ratio: float | str | Decimal | Fraction) -> int:
    """Return k, the number of kept tokens: ``max(1, n - ceil(n * ratio))`` in exact arithmetic.

    Raises:
        UsageError: ``n`` < 1, or a ratio that is not a number in [0, 1).
    """
    n = whole("n, the number of audio tokens,", n, 1)
    removed = math.ceil(n * exact_ratio(ratio))
    return max(1, n - removed)


def prefilter_count(n: int, k: int, exponent: float) -> int:
    """Return n_1, how many of ``n`` tokens stay to be scored: ``ceil(n^(1-a) * k^a)`` in [k, n].

    The paper's ablation needs Frame before scoring, its Algorithm 1 omits it and no text says how
    far it goes. The exponent a interpolates: 0 scores every token, 1 is pure Frame.

    Raises:
        UsageError: ``k`` outside [1, n], or an exponent outside [0, 1].
    """
    check_count(k, n)
    exponent = real("prefilter exponent", exponent, 0, 1, "0 switches it off")
    product = math.pow(n, 1 - exponent) * math.pow(k, exponent)
    nearest = round(product)
    if abs(product - nearest) > _FUZZ * nearest:
        nearest = math.ceil(product)
    return min(max(nearest, k), n)


def frame_indices(n: int, k: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Return ``i * n // k`` for i = 0..k-1: uniform subsampling, LongTensor [k], ascending.

    Raises:
        UsageError: ``k`` outside [1, n].
    """
    check_count(k, n)
    steps: torch.Tensor = torch.arange(k, device=device) * n
    return steps // k


def probe(queries: torch.Tensor, keys: torch.Tensor, scale: float | None = None) -> torch.Tensor:
    """Return p, Eq. 15-17: how each head spreads the text's attention over the audio.

    Per query head and text token a softmax over the audio tokens, averaged over the text tokens.
    Query head h reads key-value head ``h // (H / H_kv)``; keys are never expanded. Heads and text
    tokens are taken in chunks, so that memory stays bounded by ``SCORE_BYTES`` whatever their
    number (with gradients switched off: autograd would keep every chunk).

    Args:
        queries: [H, N_t, d], before rotary encoding, any floating dtype.
        keys: [H_kv, N_a, d], before rotary encoding, any floating dtype.
        scale: factor of the affinities; 1/sqrt(d) unless given.

    Returns:
        [H, N_a], float32 (float64 for float64 inputs); rows sum to 1. Finite as long as the
        affinities themselves are.

    Raises:
        UsageError: shapes that do not fit, or no text or audio tokens.
    """
    _check_probe(queries, keys)
    dtype = accumulating(queries.dtype, keys.dtype)
    heads, texts, dim = queries.shape
    kv_heads, audios, _ = keys.shape
    group = heads // kv_heads
    factor = dim**-0.5 if scale is None else scale
    kv_step, text_step = _chunks(kv_heads, group, audios, dim, dtype.itemsize)

    total = torch.zeros(heads, audios, dtype=dtype, device=keys.device)
    with full_precision(keys.device):
        for kv in range(0, kv_heads, kv_step):
            columns = keys[kv : kv + kv_step].to(dtype).mT
            rows = slice(kv * group, (kv + kv_step) * group)
            for text in range(0, texts, text_step):
                part = queries[rows, text : text + text_step].to(dtype) * factor
                total[rows] += _attend(part, columns)
    return total / texts


def selectivity(probe: torch.Tensor) -> torch.Tensor:
    """Return sel, Eq. 10: ``1 - H(p_h) / log N_a`` of a probe [H, N_a], as [H] in [0, 1].

    0 where a head spreads evenly and where N_a = 1, 1 where it looks at a single token.
    """
    probe = floating("probe", probe, "[H, N_a]")
    probe = probe.to(accumulating(probe.dtype))
    audios = probe.shape[-1]
    if audios == 1:
        return torch.zeros_like(probe[..., 0])
    entropy: torch.Tensor = torch.special.entr(probe).sum(-1)
    return (1 - entropy / math.log(audios)).clamp(0, 1)


def spread(selectivity: torch.Tensor) -> torch.Tensor:
    """Return spr, Eq. 11: the population standard deviation of selectivity [H], as a scalar."""
    selectivity = floating("selectivity", selectivity, "[H]")
    return selectivity.to(accumulating(selectivity.dtype)).std(correction=0)


def importance(probe: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return Eq. 7: the probe [H, N_a] averaged with head weights [H], as [N_a]."""
    probe, weights = floating("probe", probe, "[H, N_a]"), floating("weights", weights, "[H]")
    if len(weights) != len(probe):
        raise UsageError(f"there are {len(weights)} head weights and {len(probe)} heads in a probe")
    probe = probe.to(accumulating(probe.dtype))
    with full_precision(probe.device):
        return weights.to(probe) @ probe


def candidate_importance(
    probe: torch.Tensor, weights: torch.Tensor, k: int, exponent: float
) -> torch.Tensor:
    """Return the importance [N_a] behind a prefilter: NaN where Frame left a token out.

    The softmax of the probe stays over all N_a tokens; the candidates only index it.

    Args:
        probe: [H, N_a].
        weights: head weights [H].
        k: tokens that will be kept.
        exponent: prefilter exponent a in [0, 1], see :func:`prefilter_count`.

    Raises:
        UsageError: ``k`` or ``exponent`` out of range.
    """
    audios = floating("probe", probe, "[H, N_a]").shape[1]
    candidates = frame_indices(audios, prefilter_count(audios, k, exponent), probe.device)
    scores = importance(probe.index_select(1, candidates), weights)
    return scores.new_full((audios,), torch.nan).index_copy_(0, candidates, scores)


def top_k(importance: torch.Tensor, k: int) -> torch.Tensor:
    """Return Eq. 8: the ``k`` most important of [N_a] tokens, LongTensor [k], ascending.

    Ties go to the lower index (``torch.topk`` leaves them to the device). NaN means not scored:
    such a token is taken only when no scored one is left.

    Raises:
        UsageError: ``k`` outside [1, N_a].
    """
    check_count(k, len(floating("importance", importance, "[N_a]", empty=True)))
    scored = importance.masked_fill(importance.isnan(), -torch.inf)
    order = scored.sort(descending=True, stable=True).indices
    return order[:k].sort().values


def check_count(k: int, n: int) -> None:
    """Raise unless ``k`` of ``n`` audio tokens can be kept.

    Raises:
        UsageError: ``k`` or ``n`` is no whole number, or ``k`` is outside [1, n].
    """
    n, k = whole("n, the number of audio tokens,", n), whole("k, the tokens to keep,", k)
    if not 1 <= k <= n:
        raise UsageError(f"cannot keep {k} of {n} audio tokens; keep at least 1 and at most {n}")


def _check_probe(queries: torch.Tensor, keys: torch.Tensor) -> None:
    floating("queries", queries, "[H, N_t, d]")
    floating("keys", keys, "[H_kv, N_a, d]")
    shapes = f"queries {tuple(queries.shape)} and keys {tuple(keys.shape)}"
    if queries.shape[2] != keys.shape[2]:
        raise UsageError(f"{shapes} do not fit; the probe takes [H, N_t, d] and [H_kv, N_a, d]")
    if queries.shape[0] % keys.shape[0]:
        raise UsageError(f"{shapes}: the query heads must be a multiple of the key-value heads")


def _chunks(kv_heads: int, group: int, audios: int, dim: int, itemsize: int) -> tuple[int, int]:
    """Return how many key-value heads and text tokens one step takes, both at least 1."""
    kv_step = min(kv_heads, max(1, SCORE_BYTES // (audios * dim * itemsize)))
    text_step = max(1, SCORE_BYTES // (kv_step * group * audios * itemsize))
    return kv_step, text_step


def _attend(queries: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Sum over text tokens the softmax of [H, T, d] queries on [H_kv, d, N_a], as [H, N_a]."""
    heads, texts, dim = queries.shape
    scores = queries.reshape(columns.shape[0], -1, dim) @ columns
    return scores.softmax(-1).view(heads, texts, -1).sum(1)
