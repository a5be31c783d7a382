"""Short recordings for small copies of benchmark folders."""

import numpy as np
import soundfile

RATE = 16_000


def write_audio(path, seconds=0.1, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    soundfile.write(path, samples.astype(np.float32), RATE)
