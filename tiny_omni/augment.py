"""Augmentation of single clips: the training set knows few speakers, the test set has others."""

from __future__ import annotations

import random

import numpy as np
import scipy.fft
import soxr

from tiny_omni.clips import SAMPLE_RATE


def augment(samples: np.ndarray, rng: random.Random, *, speech: bool) -> np.ndarray:
    """A random variation of ``samples`` [n]: speed, pitch, equalisation, band limit, room, noise.

    Sounds and instruments are varied further in speed than speech, whose speakers have a gender.

    The result has another length where the speed changed; the peak is not restored (levels are set
    when the scene is mixed).
    """
    if rng.random() < 0.8:
        speed = rng.uniform(0.87, 1.15) if speech else rng.uniform(0.75, 1.33)
        samples = soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE, quality="LQ")
    if rng.random() < 0.7:
        samples = _colour(samples, rng, room=rng.random() < 0.4)
    if rng.random() < 0.3:
        noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(len(samples), np.float32)
        level = np.sqrt(np.mean(samples**2)) * 10 ** (rng.uniform(-35, -12) / 20)
        samples = samples + noise * np.float32(level)
    return samples


def _colour(samples: np.ndarray, rng: random.Random, *, room: bool) -> np.ndarray:
    """Apply a random equaliser, now and then a band limit and a room, in one spectral product."""
    tail = int(0.25 * SAMPLE_RATE) if room else 0
    size = scipy.fft.next_fast_len(len(samples) + tail + 1, real=True)
    spectrum = scipy.fft.rfft(samples, size)
    octaves = np.log2(np.linspace(0, SAMPLE_RATE / 2, len(spectrum), dtype=np.float32) / 62.5 + 1)
    knots = np.arange(0, 8.5, 1.0)
    gains = [rng.gauss(0, 4) for _ in knots]
    decibels = np.interp(octaves, knots, gains).astype(np.float32)
    if rng.random() < 0.25:
        cut = np.log2(rng.uniform(2800, 6500) / 62.5 + 1)
        decibels -= np.clip((octaves - cut) * 60, 0, 60)
    spectrum *= 10 ** (decibels / 20)
    if room:
        spectrum *= scipy.fft.rfft(_room(rng, tail), size)
    coloured: np.ndarray = scipy.fft.irfft(spectrum, size)
    return coloured[: len(samples) + tail // 2].astype(np.float32)


def _room(rng: random.Random, length: int) -> np.ndarray:
    """A synthetic room response: the direct sound and an exponentially decaying noise tail."""
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(length, dtype=np.float32)
    decay = rng.uniform(0.08, 0.5)  # seconds to -60 dB
    seconds = np.arange(length, dtype=np.float32) / SAMPLE_RATE
    response = noise * 10 ** (-3 * seconds / decay)
    response *= rng.uniform(0.1, 0.7) / np.sqrt(np.sum(response**2) + 1e-9)
    response[0] = 1.0
    return response
