"""What the verdict and ``inspect --all`` say of routing."""

from dataclasses import replace

import pytest

from calibrate.inspection.contents import warnings
from calibrate.inspection.routing_words import routing_sentence, routing_table
from calibrate.inspection.verdicts import bases
from calibrate.inspection.worth import worth
from calibrate.terminal.console import PlainConsole
from headrouter_core.profile.shipped import load_profile

from .test_worth import BETTER, TIE, WORSE, estimate, report


def routing(route="pooled", verdict="tie", **bandwidth):
    """The report of a routing whose oracle and mixture are as good as ``verdict`` says."""
    answers = {"won": 7, "lost": 2, "p": 0.18}
    found = {"tie": TIE, "better": BETTER, "worse": WORSE}.get(verdict, TIE) | {"verdict": verdict}
    return {
        "route": route,
        "pooled": 0.5,
        "oracle": 0.51,
        "mixture": 0.52,
        "uniform": 0.6,
        "auc": 0.66,
        "auc_selectivity": 0.9,
        "unseen_task": {"spread": 0.43, "selectivity": None},
        "bandwidth": {"factor": 1.0, **bandwidth},
        "comparisons": [
            {"method": name, "rival": "pooled", **found, "answers": answers}
            for name in ("oracle", "mixture", "selectivity")
        ],
    }


@pytest.mark.parametrize(
    ("route", "verdict", "words"),
    [
        ("pooled", "tie", "Routing by true group: a tie with one vector, NLL +0.000"),
        ("uniform", "worse", "Routing by true group: WORSE than one vector"),
        ("auto", "better", "Routing by spread: better than one vector"),
        ("selectivity", "withheld", "Routing by a rule: too few speakers to tell"),
    ],
)
def test_is_routing_better_than_one_vector(route, verdict, words):
    results = {**report({"0.9": (TIE, TIE, TIE)}), "routing": routing(route, verdict)}
    sentence = routing_sentence(results)
    assert sentence.startswith(words)
    assert len(sentence) <= 79
    lines = list(worth(replace(load_profile("tiny-omni"), results=results)))
    assert sentence in lines
    assert len(lines) <= 9


def test_nothing_is_said_of_routing_that_was_not_measured():
    assert routing_sentence(report({"0.9": (TIE, TIE, TIE)})) is None
    assert routing_table({}) is None


def test_losses_stand_side_by_side():
    console = PlainConsole(width=80, record=True)
    console.print(routing_table({"routing": routing(factor=4.0)}))
    text = console.export_text()
    for words in (
        "one vector (pooled)",
        "0.500",
        "true group (oracle)",
        "+7 -2",
        "0.18",
        "by spread: 0.66, by the rule 0.90",
        "by spread 0.43.",
    ):
        assert words in text
    assert "None" not in text


def test_doubts_about_the_bandwidth_are_warnings():
    shipped = load_profile("tiny-omni")
    results = report({"0.9": (TIE, TIE, TIE)})
    odd = routing(factor=4.0, at_edge=True, wider_than_centers=True)
    text = "\n".join(warnings(replace(shipped, results={**results, "routing": odd})))
    assert "4 times the pooled deviation, is at the edge" in text
    assert "wider than the centers lie apart" in text
    fine = routing(factor=1.0, at_edge=False, wider_than_centers=False)
    text = "\n".join(warnings(replace(shipped, results={**results, "routing": fine})))
    assert "bandwidth" not in text


def test_a_difference_says_what_it_rests_on():
    results = report({"0.9": (BETTER, TIE, TIE)})
    results["ratios"]["0.9"]["comparisons"][0] |= {
        "carried_by": 7,
        "items": {"better": 20, "worse": 9, "largest": 0.76, "task": "digits", "task_share": 0.6},
        "answers": {"won": 3, "lost": 5, "p": 0.73},
        "divergence": estimate(-0.01, 0.005),
    }
    first, second = bases(results)
    assert first == (
        "7 speakers or clips carry it; digits 60% of it, its 5 largest items 76%; 20 better,"
        " 9 worse; exact answers +3 -5 (p 0.73); JS divergence -0.0100 [-0.0150, -0.0050]"
    )
    assert second is None
