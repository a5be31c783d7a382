"""Spectral smoothing against a plain version of it, and where it does nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from headrouter_core.eviction.methods.smoothing import smoothed


def plain(row: np.ndarray, energy: float, mix: float, taper: int) -> tuple[np.ndarray, int]:
    """Smooth one row as the paper writes it: bins 0 to k* pass, and a cosine behind them."""
    bins = np.fft.rfft(row)
    power = np.abs(bins) ** 2
    k = next(k for k in range(len(bins)) if power[: k + 1].sum() >= energy * power.sum())
    for index in range(k + 1, len(bins)):
        beyond = index - k
        bins[index] *= 0.5 + 0.5 * math.cos(math.pi * min(beyond / (taper + 1), 1))
    return (1 - mix) * row + mix * np.fft.irfft(bins, len(row)), k


@pytest.mark.parametrize("length", [1, 2, 9, 64, 101])
@pytest.mark.parametrize("taper", [0, 3])
@pytest.mark.parametrize("center", [True, False])
def test_it_is_what_the_paper_writes(length: int, taper: int, center: bool) -> None:
    rows = torch.rand(3, length, generator=torch.Generator().manual_seed(length)) ** 4
    found, cutoff = smoothed(rows, energy=0.7, mix=0.5, taper=taper, center=center)
    for row, made, k in zip(rows.double().numpy(), found.numpy(), cutoff.tolist(), strict=True):
        mean = row.mean() if center else 0.0
        wanted, cut = plain(row - mean, 0.7, 0.5, taper)
        np.testing.assert_allclose(made, wanted + mean, atol=1e-6)
        assert k == cut


def test_with_the_mean_in_it_diffuse_scores_keep_their_order() -> None:
    noise = torch.randn(32, 4096, generator=torch.Generator().manual_seed(0))
    rows = noise.softmax(-1).mean(0, keepdim=True)
    left, first = smoothed(rows, energy=0.7, mix=0.5, taper=0, center=False)
    assert first.tolist() == [0]
    assert left.argsort(stable=True).equal(rows.argsort(stable=True))
    moved, cutoff = smoothed(rows, energy=0.7, mix=0.5, taper=0, center=True)
    assert cutoff.item() > 100
    best = [set(each[0].argsort(descending=True)[:1600].tolist()) for each in (rows, moved)]
    assert len(best[0] - best[1]) > 50


def test_no_positions_and_no_mixture() -> None:
    nothing, cutoff = smoothed(torch.empty(2, 0), energy=0.7, mix=0.5, taper=0, center=True)
    assert nothing.shape == (2, 0)
    assert cutoff.tolist() == [0, 0]
    rows = torch.rand(2, 30)
    same, _ = smoothed(rows, energy=0.7, mix=0, taper=0, center=True)
    torch.testing.assert_close(same, rows)
