"""What tests of processors share."""

import numpy as np
import pytest

from tests.calibrate import tiny_checkpoints

NAMES = ["voxtral", *tiny_checkpoints.KITS]
QUESTION = "What is it?"

each_family = pytest.mark.parametrize("name", NAMES)


def noise(frontend, seconds, seed=0):
    samples = round(seconds * frontend.sample_rate)
    return np.random.default_rng(seed).uniform(-0.1, 0.1, samples).astype(np.float32)
