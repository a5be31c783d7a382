from calibrate.terminal.ratios import parse_ratios


def test_ratios_are_separated_by_commas():
    assert parse_ratios("0.3, 0.75") == (0.3, 0.75)
