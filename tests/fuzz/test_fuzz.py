"""A short campaign on each target; ``make fuzz`` runs long ones."""

import pytest

from . import campaign
from .campaign import Target, run
from .targets import TARGETS


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_files_are_refused_or_read(target):
    report = run(target, seed=1, tries=400)
    assert not report.faults
    assert report.tries == report.accepted + report.refused == 400
    assert report.refused > 40  # the damage is real
    assert report.accepted > 4  # and not all there is


def test_a_reader_at_fault_is_found():
    def read(path):
        if b"\xff" in path.read_bytes():
            raise KeyError(path)

    target = Target("bytes", ".bin", lambda random: random.randbytes(200), read)
    report = run(target, seed=0, tries=50)
    assert 10 < report.faults.total() < 45
    assert set(report.faults) == {"KeyError elsewhere"}


def test_a_reader_that_hangs_is_found(monkeypatch):
    def read(path):
        while True:
            pass

    monkeypatch.setattr(campaign, "LIMIT", 0.05)
    target = Target("any", ".bin", lambda random: b"", read)
    assert set(run(target, seed=0, tries=1).faults) == {"_TooLongError elsewhere"}
