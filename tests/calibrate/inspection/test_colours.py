"""What is coloured can be read on a light terminal and on a dark one."""

import pytest
from rich.color import Color

from calibrate.inspection.tables import COLOURS
from calibrate.terminal.console import WARNING


def luminance(name):
    colour = Color.parse(name)
    assert colour.number >= 16, f"{name} is another in every terminal"
    parts = [part / 255 for part in colour.get_truecolor()]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(factor * p for factor, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("name", [*COLOURS.values(), WARNING])
def test_a_colour_stands_out_from_white_and_from_black(name):
    """By the ratio of 3 to 1 that the WCAG ask of large text and of graphics."""
    own = luminance(name)
    assert 1.05 / (own + 0.05) >= 3
    assert (own + 0.05) / 0.05 >= 3
