"""How loud each audio token is: what the ``energy`` selector is handed."""

from __future__ import annotations

import numpy as np
import torch

from headrouter_core.errors import UsageError

#: Loudness of digital silence, in dB relative to full scale; nothing is quieter.
FLOOR = -120.0


def token_loudness(audio: np.ndarray, audio_tokens: int, samples_per_token: float) -> torch.Tensor:
    """Return the mean power of the stretch of sound that each audio token stands for.

    Token i stands for ``samples_per_token`` samples from ``i * samples_per_token`` on, the last one
    for all that is left; what a token hears of its surroundings through the encoder is not counted.
    For several audios of one prompt, join the results.

    Args:
        audio: [n], mono, full scale is 1.
        audio_tokens: N_a, how many tokens the model makes of it: ``FrontEnd.audio_tokens``.
        samples_per_token: ``FrontEnd.seconds_per_token * FrontEnd.sample_rate``.

    Returns:
        float32 [N_a], dB relative to full scale, at least ``FLOOR``.

    Raises:
        UsageError: the audio is not mono, or too short to have so many tokens.
    """
    starts = np.rint(np.arange(audio_tokens) * samples_per_token).astype(np.int64)
    if audio.ndim != 1 or audio_tokens < 1 or samples_per_token < 1 or starts[-1] >= len(audio):
        raise UsageError(
            f"audio of shape {audio.shape} cannot be {audio_tokens} tokens of {samples_per_token:g}"
            " samples; give mono samples, and the token count and length of the model's front end"
        )
    ends = np.append(starts[1:], len(audio))
    power = np.add.reduceat(np.square(audio, dtype=np.float64), starts) / (ends - starts)
    decibels = 10 * np.log10(np.maximum(power, 10 ** (FLOOR / 10)))
    return torch.from_numpy(decibels.astype(np.float32))
