"""Spectral smoothing of scores: AudioKV's equations 14 to 18 (arXiv 2604.06694)."""

from __future__ import annotations

import math

import torch


def smoothed(
    scores: torch.Tensor, *, energy: float, mix: float, taper: int, center: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each row of scores with what a low-pass leaves of it.

    Unless the mean is removed first, it holds nearly all of the energy wherever attention is
    diffuse: then only it passes, and no order changes.

    Args:
        scores: [h, n].
        energy: share of a row's energy that the frequencies that pass have at least.
        mix: share of what passed, in [0, 1].
        taper: frequencies behind the last one that fade out along a cosine.
        center: whether the mean is left out of it.

    Returns:
        Scores [h, n], and the LongTensor [h] of each row's last frequency that passed whole (k*).
    """
    rows, length = scores.shape
    if not length:
        return scores, torch.zeros(rows, dtype=torch.long, device=scores.device)
    exact = scores.double()  # a sum over thousands of squares decides about a frequency
    mean = exact.mean(-1, keepdim=True) if center else torch.zeros_like(exact[:, :1])
    spectrum = torch.fft.rfft(exact - mean)
    power = spectrum.abs().square().cumsum(-1)
    cutoff = (power >= energy * power[:, -1:]).byte().argmax(-1)
    beyond = torch.arange(spectrum.shape[-1], device=scores.device) - cutoff[:, None]
    fading = (beyond.clamp(0, taper + 1) / (taper + 1) * math.pi).cos() / 2 + 0.5
    passed = torch.fft.irfft(spectrum * fading, n=length)
    mixed = (1 - mix) * (exact - mean) + mix * passed + mean
    return mixed.to(scores.dtype), cutoff
