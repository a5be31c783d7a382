"""The verdict: what a profile is worth, read from its report."""

from dataclasses import replace

import pytest

from calibrate.inspection.page import render
from calibrate.inspection.screen import screen
from calibrate.inspection.worth import SAFE, TELLING, safe_ratio, worth
from calibrate.terminal.console import PlainConsole
from headrouter_core.errors import ProfileError
from headrouter_core.profile.shipped import load_profile

METHODS = ("headrouter", "uniform weights", "frame")


def estimate(difference, reach):
    low, high = difference - reach, difference + reach
    verdict = "better" if high < 0 else "worse" if low > 0 else "tie"
    return {"difference": difference, "low": low, "high": high, "verdict": verdict}


def report(ratios, clusters=34):
    """A report: ratio -> difference from uniform weights, from Frame, from no pruning."""
    entries = {}
    for ratio, (uniform, frame, rise) in ratios.items():
        compared = [("uniform weights", uniform), ("frame", frame)]
        entries[ratio] = {
            "nll": dict.fromkeys(METHODS, 1.0),
            "accuracy": dict.fromkeys(METHODS, 0.5),
            "rise": rise,
            "comparisons": [
                {"method": "headrouter", "rival": rival, **found} for rival, found in compared
            ],
        }
    return {
        "samples": 90,
        "clusters": clusters,
        "unpruned": {"nll": 1.0, "accuracy": 0.5},
        "ratios": entries,
    }


def with_report(results, **recipe):
    shipped = load_profile("tiny-omni")
    return replace(shipped, results=results, recipe=replace(shipped.recipe, **recipe))


BETTER, WORSE, TIE = estimate(-0.2, 0.1), estimate(0.2, 0.1), estimate(0.0, 0.04)


def test_it_says_at_which_ratios_the_profile_is_better_worse_or_neither():
    results = report({"0.9": (BETTER, WORSE, WORSE), "0.6": (TIE, BETTER, TIE)})
    lines = list(worth(with_report(results)))
    assert lines[0] == "Compared with uniform weights: better at 0.9; a tie at 0.6."
    assert lines[1] == "Compared with Frame: better at 0.6; WORSE at 0.9."
    assert lines[2] == "Safe up to ratio 0.6: NLL rises by less than 0.05 over no pruning."
    assert "90 held-out samples of 34 speakers or clips" in "\n".join(lines)
    assert lines[-2].split()[:4] == ["0.6", "+0.000", "[-0.040,", "+0.040]"]


@pytest.mark.parametrize(
    ("rises", "safe"),
    [
        ({"0.3": TIE, "0.6": TIE, "0.9": WORSE}, 0.6),
        ({"0.3": WORSE, "0.6": TIE}, None),  # what is above an unsafe ratio is not called safe
        ({"0.3": estimate(0.0, SAFE), "0.6": TIE}, None),
        ({"0.3": BETTER}, 0.3),
    ],
)
def test_safe_is_where_the_loss_certainly_hardly_rises(rises, safe):
    results = report({ratio: (TIE, TIE, rise) for ratio, rise in rises.items()})
    assert safe_ratio(results) == safe
    text = "\n".join(worth(with_report(results)))
    assert ("No ratio is shown to be safe" in text) == (safe is None)


@pytest.mark.parametrize("clusters", range(1, TELLING))
def test_few_speakers_give_no_verdict(clusters):
    results = report({"0.6": (BETTER, BETTER, TIE)}, clusters)
    text = "\n".join(worth(with_report(results)))
    assert text.startswith(f"No verdict: {clusters} speakers or clips")
    assert "better" not in text
    assert "Safe" not in text
    assert safe_ratio(results) is None
    assert "-0.200 [-0.300, -0.100]" in text  # what was measured is shown all the same


def test_older_reports_do_not_say_what_was_not_measured():
    text = "\n".join(worth(load_profile("tiny-omni")))
    assert "better at 0.9" in text
    assert "Which ratio is safe was not measured" in text
    assert "no pruning" not in text


def test_without_a_report_there_is_no_verdict():
    assert list(worth(with_report({}))) == [
        "No verdict: the profile was not tried on samples that took no part in it."
    ]


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"prefilter_exponent": 1.0}, "exactly Frame's"),
        ({"weights_rule": "uniform"}, "all are even"),
        ({}, "routing does little"),
    ],
)
@pytest.mark.parametrize("ratios", [1, 2, 3, 4, 9])
def test_it_is_short_and_names_what_speaks_against_it(recipe, words, ratios):
    results = report({f"0.{n}": (BETTER, TIE, WORSE) for n in range(1, ratios + 1)})
    lines = list(worth(with_report(results, **recipe)))
    assert words in "\n".join(lines)
    assert len(lines) <= 9
    assert max(map(len, lines)) <= 80
    assert ("more ratios" in lines[-1]) == (ratios > 3)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_all_of_it_fits_a_screen(width):
    results = report({f"0.{n}": (BETTER, TIE, WORSE) for n in range(1, 10)})
    console = PlainConsole(width=width, record=True)
    for part in screen(with_report(results), "a name that is longer than a screen is " * 4):
        console.print(part, "")
    lines = console.export_text().splitlines()
    if width >= 80:
        assert len(lines) <= 38  # a warning of the versions and what else there is come below
    assert max(map(len, lines)) <= width
    drawn = [line for line in lines if " center " in line or " samples  " in line]
    assert len(drawn) == 5
    assert not any("…" in line for line in drawn)


def test_pooled_weights_are_shown_with_the_others():
    shipped = load_profile("tiny-omni")
    pooled = shipped.tensors["weights.uniform"].clone()
    profile = replace(shipped, tensors={**shipped.tensors, "weights.pooled": pooled})
    console = PlainConsole(width=80, record=True)
    for part in screen(profile, "x"):
        console.print(part, "")
    assert "pooled    " in console.export_text()
    assert render(profile, "x").count(b"<rect") == 4 * profile.model.heads


@pytest.mark.parametrize(
    "odd",
    [
        {"clusters": 0},
        {"clusters": "many"},
        {"ratios": {"0.6": {"rise": {"difference": 1.0, "low": "x", "high": 1.0}}}},
    ],
)
def test_a_damaged_report_is_refused(odd):
    results = report({"0.6": (TIE, TIE, TIE)})
    if "ratios" in odd:
        results["ratios"]["0.6"].update(odd["ratios"]["0.6"])
    else:
        results.update(odd)
    with pytest.raises(ProfileError, match=r"clusters|rise"):
        with_report(results)
