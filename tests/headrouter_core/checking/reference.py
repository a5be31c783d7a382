"""The equations once more, in float64 NumPy loops, written apart from the code under test."""

import math
from fractions import Fraction

import numpy as np


def keep_count(n, ratio):
    kept = n
    while kept > 0 and Fraction(n - kept, n) < ratio:
        kept -= 1
    return max(kept, 1)


def probe(queries, keys, scale=None):
    heads, texts, dim = queries.shape
    group = heads // keys.shape[0]
    scale = 1 / math.sqrt(dim) if scale is None else scale
    result = np.zeros((heads, keys.shape[1]))
    for head in range(heads):
        for text in range(texts):
            logits = keys[head // group] @ queries[head, text] * scale
            exp = np.exp(logits - logits.max())
            result[head] += exp / exp.sum() / texts
    return result


def selectivity(probe):
    heads, audios = probe.shape
    if audios == 1:
        return np.zeros(heads)
    entropy = [-sum(p * math.log(p) for p in row if p > 0) for row in probe]
    return 1 - np.array(entropy) / math.log(audios)


def spread(selectivity):
    mean = selectivity.sum() / len(selectivity)
    return math.sqrt(((selectivity - mean) ** 2).sum() / len(selectivity))


def mixing(spread, centers, bandwidth):
    affinity = [math.exp(-((spread - mu) ** 2) / (2 * bandwidth**2)) for mu in centers]
    return np.array(affinity) / sum(affinity)


def route_weights(mixing, weights):
    return sum(alpha * vector for alpha, vector in zip(mixing, weights, strict=True))


def importance(probe, weights):
    return sum(w * row for w, row in zip(weights, probe, strict=True))


def top_k(importance, k):
    """NaN last, then ties to the lower index."""
    rank = sorted(
        range(len(importance)), key=lambda i: (np.isnan(importance[i]), -importance[i], i)
    )
    return sorted(rank[:k])
