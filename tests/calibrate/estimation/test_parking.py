"""Samples that wait are off the device: in main memory up to a budget, and beyond it on disk."""

import gc
from dataclasses import fields, is_dataclass

import pytest
import torch

from calibrate.estimation import bench as benches
from calibrate.estimation.ablation import ablate
from calibrate.estimation.bench import Bench, prepare
from calibrate.estimation.replay.parking import Parking
from calibrate.estimation.samples.sample import shipped_samples
from calibrate.running.journal import Journal
from calibrate.running.sizes import parse_size
from calibrate.running.work import Work
from headrouter_core.errors import HeadRouterError, UsageError

GIB = 2**30


def tensors(value):
    """All tensors of a nesting."""
    if isinstance(value, torch.Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors(getattr(value, field.name))
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors(part)


@pytest.fixture(scope="module")
def samples():
    found = shipped_samples(3, seconds=4.0, report=0)
    return [sample for sample in found if sample.task in ("digits", "event")]


def prepared(loaded, samples, parking):
    return prepare(loaded, samples, 2, Work(Journal()), parking, lambda: None)


@pytest.mark.parametrize("budget", [0, GIB])
def test_what_comes_back_is_what_was_parked(loaded, samples, tmp_path, budget):
    with Bench(loaded, samples[0], 2).at_hand() as held:
        with Parking(budget, tmp_path) as parking:
            parking.park("a", held)
            assert parking.used == (sum(t.nbytes for t in different(held)) if budget else 0)
            back = parking.fetch("a")
        found, expected = list(tensors(back)), list(tensors(held))
        assert len(found) == len(expected) > 10
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            assert one.stride() == other.stride()
            assert torch.equal(one, other)
        # layers share their arguments, here and there
        assert len(different(back)) == len(different(held)) < len(found)
    assert not list(tmp_path.iterdir())  # the file has no name


def different(value):
    return list({id(tensor): tensor for tensor in tensors(value)}.values())


def test_outcomes_are_the_same_wherever_samples_wait(loaded, samples, tmp_path):
    effects = []
    for budget in (None, GIB, 100_000, 0):
        parking = None if budget is None else Parking(budget, tmp_path)
        found = ablate(prepared(loaded, samples, parking), (0.6,))
        effects.append(found.effects.tobytes())
    assert len(set(effects)) == 1


def held_bytes(model):
    """Bytes of all tensors that are alive, but for the model's own."""
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    # other tests may have left sparse ones, which have no storage
    alive = [
        found
        for found in gc.get_objects()
        if type(found) is torch.Tensor and found.layout == torch.strided
    ]
    storages = {found.untyped_storage().data_ptr(): found.untyped_storage() for found in alive}
    return sum(part.nbytes() for place, part in storages.items() if place not in own)


def peak(loaded, samples, parking, monkeypatch):
    """Most bytes held while kept sets run, beside what was held before."""
    gc.collect()
    before, found = held_bytes(loaded.model), []

    def watched(*given):
        found.append(held_bytes(loaded.model) - before)
        return replay(*given)

    replay = benches.replay
    with monkeypatch.context() as patch:
        patch.setattr(benches, "replay", watched)
        ablate(prepared(loaded, samples, parking), (0.9,))
    return max(found)


def test_the_device_holds_one_sample_at_a_time(loaded, samples, tmp_path, monkeypatch):
    one = peak(loaded, samples[:1], Parking(0, tmp_path), monkeypatch)
    assert one > 200_000
    with Parking(0, tmp_path) as parking:
        # what is told of a sample is not a tensor: six hold what one does
        assert peak(loaded, samples, parking, monkeypatch) == pytest.approx(one, rel=0.02)
        assert parking.used == 0
    assert peak(loaded, samples, None, monkeypatch) > 4 * one
    with Parking(2 * one, tmp_path) as parking:
        assert peak(loaded, samples, parking, monkeypatch) < 4 * one
        assert 0 < parking.used <= 2 * one


def test_a_full_disk_says_what_to_do(loaded, samples, tmp_path):
    parking = Parking(0, tmp_path / "gone")
    with pytest.raises(HeadRouterError, match=r"cannot park a sample in .*raise --memory"):
        prepared(loaded, samples, parking)


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 8 * GIB), ("1.5 MB", 1_500_000), ("0", 0), ("64kib", 65_536), ("2TB", 2 * 10**12)],
)
def test_sizes(text, size):
    assert parse_size("--memory", text) == size


@pytest.mark.parametrize("text", ["8", "-1GiB", "GiB", "8 gigs", "", "nan GB", "1e3MB"])
def test_what_is_no_size(text):
    with pytest.raises(UsageError, match=r"--memory .* is no size; give a number and a unit"):
        parse_size("--memory", text)
