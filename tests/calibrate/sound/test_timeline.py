import pytest

from calibrate.sound.timeline import axis, bar, spans, times


def test_times_end_with_the_audio():
    assert times([0, 2], 0.04, 0.1) == [(0, 0.04), (0.08, 0.1)]


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ([], []),
        ([3], [(3, 4)]),
        ([0, 1, 2], [(0, 3)]),
        ([0, 2, 3, 7], [(0, 1), (2, 4), (7, 7.5)]),
    ],
)
def test_spans_join_neighbours(kept, expected):
    assert spans(kept, 1.0, 7.5) == expected


def test_a_bar_shows_shares():
    assert bar([0, 1, 2, 3, 4, 8], 12, 3) == "█▂▂"
    assert bar([], 12, 3) == "   "
    assert bar(range(12), 12, 3) == "███"


def test_a_bar_never_hides_and_never_completes():
    assert bar([5], 100, 2) == "▁ "
    assert bar([token for token in range(100) if token != 5], 100, 2) == "▇█"


def test_a_bar_has_no_more_cells_than_tokens():
    assert bar([1], 3, 80) == " █ "


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "no-such"])
def test_a_bar_without_unicode(encoding):
    assert bar([0], 2, 2, encoding) == "# "


@pytest.mark.parametrize("seconds", [0.04, 1.0, 9.96, 30.0, 300.0, 3_000.0])
@pytest.mark.parametrize("cells", [1, 20, 78, 158])
def test_an_axis_fits_its_bar(seconds, cells):
    line = axis(seconds, cells)
    assert len(line) <= cells
    for mark in line.split():
        column = line.index(mark)
        value = float(mark.strip("|s"))
        assert abs(column - value / seconds * cells) <= 1
