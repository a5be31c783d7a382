"""What a profile cannot hold is refused before the work, by a bound that is one."""

from dataclasses import replace

import pytest

from calibrate.estimation import bundling
from calibrate.estimation.bundling import check_room
from calibrate.estimation.samples.sample import shipped_samples
from headrouter_core import UsageError, load_profile
from headrouter_core.profile.bundle import MAX_BYTES, to_bytes

RATIOS = (0.6, 0.9)


@pytest.fixture(scope="module")
def samples():
    return shipped_samples(3, seconds=6.0)


def test_the_shipped_profile_is_within_its_estimate(loaded, monkeypatch):
    """Its own samples, at a limit of its own size, would have been refused."""
    profile = load_profile("tiny-omni")
    size = len(to_bytes(profile.tensors, profile.metadata()))
    monkeypatch.setattr(bundling, "MAX_BYTES", size)
    with pytest.raises(UsageError, match=f"at most {size}"):
        check_room(loaded, shipped_samples(10), 2, profile.calibration["ratios"])


def test_usual_samples_have_room(loaded, samples):
    check_room(loaded, samples * 40, 2, RATIOS)


@pytest.mark.parametrize(
    "many",
    [
        lambda samples: samples * (MAX_BYTES // 500),
        lambda samples: [replace(samples[0], task=f"task {n}") for n in range(257)],
    ],
)
def test_more_than_a_profile_holds(loaded, samples, many):
    with pytest.raises(UsageError, match="lower --per-category"):
        check_room(loaded, many(samples), 2, RATIOS)


def test_a_task_that_is_no_name(loaded, samples):
    with pytest.raises(UsageError, match=r"'x{40}'… \(257 letters\)"):
        check_room(loaded, [replace(samples[0], task="x" * 257)], 2, RATIOS)
