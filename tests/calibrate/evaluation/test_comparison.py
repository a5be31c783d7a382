"""The bootstrap against plain recomputation, and what it calls a tie."""

import time
from dataclasses import replace

import numpy as np
import pytest

from calibrate.evaluation.comparing.comparison import Comparison, Estimate, TaskAnswers
from calibrate.evaluation.scoring.items import JUDGED, LABEL, TRANSCRIPT
from calibrate.evaluation.scoring.metrics import summary
from calibrate.evaluation.scoring.systems import VANILLA

FRAME, RANDOM = ("frame", 0.6), ("random", 0.6)


def drawn_answers(rng, references, labels, right):
    """Answers of which a share is right and some are unparsed."""
    wrong = rng.choice([*labels, ""], len(references))
    hit = rng.random(len(references)) < right
    return [a if h else (b or None) for a, b, h in zip(references, wrong, hit, strict=True)]


def task_of(
    name,
    n=60,
    clusters=12,
    seed=0,
    systems=((VANILLA, 0.9), (FRAME, 0.7), (RANDOM, 0.5)),
    prefix=None,
):
    rng = np.random.default_rng(seed)
    references = rng.choice(["a", "b", "c"], n).tolist()
    return TaskAnswers(
        name,
        LABEL,
        references,
        [f"{prefix or name}/{index % clusters}" for index in range(n)],
        {key: drawn_answers(rng, references, "abc", right) for key, right in systems},
    )


def spoken(name, transcripts, clusters=None):
    n = len(next(iter(transcripts.values())))
    return TaskAnswers(
        name,
        TRANSCRIPT,
        ["one two three"] * n,
        clusters or [str(index) for index in range(n)],
        transcripts,
    )


def test_values_are_the_metrics():
    task = task_of("t")
    voice = spoken("v", {s: ["one two", None] * 4 for s in (VANILLA, FRAME, RANDOM)})
    compared = Comparison([task, voice], resamples=10)
    for system in compared.systems:
        f1 = summary(LABEL, task.references, task.answers[system])["macro_f1"]
        rate = summary(TRANSCRIPT, voice.references, voice.answers[system])["war"]
        assert compared.score("t", system).value == pytest.approx(f1)
        assert compared.score("v", system).value == pytest.approx(rate)
    f1 = [summary(LABEL, task.references, task.answers[s])["macro_f1"] for s in (VANILLA, FRAME)]
    expected = 100 * (f1[1] + 1 / 3) / (f1[0] + 1 / 3)
    assert compared.average(FRAME).value == pytest.approx(expected)
    assert compared.average(VANILLA) == Estimate(100, 100, 100)
    assert compared.difference(FRAME, VANILLA).value == pytest.approx(expected - 100)
    assert compared.difference(FRAME, VANILLA, "t").value == pytest.approx(f1[1] - f1[0])


def test_every_resample_is_the_metric_of_the_drawn_clusters():
    """Draw as the class does, then repeat the samples of the drawn clusters and score them."""
    task = task_of("t", n=30, clusters=5)
    compared = Comparison([task], resamples=50, seed=3)
    weights = np.random.default_rng(3).multinomial(5, [0.2] * 5, size=50)
    names = sorted(set(task.clusters))
    for column, system in enumerate(compared.systems):
        for draw, weight in enumerate(weights):
            rows = [
                index
                for index, name in enumerate(task.clusters)
                for _ in range(weight[names.index(name)])
            ]
            expected = summary(
                LABEL,
                [task.references[row] for row in rows],
                [task.answers[system][row] for row in rows],
            )["macro_f1"]
            assert compared.numbers[0, column, 1 + draw] == pytest.approx(expected)


def test_tasks_that_share_clusters_share_draws_and_others_do_not():
    first, second = task_of("first", prefix="speaker"), task_of("second", prefix="speaker")
    assert first.references == second.references
    other = task_of("other")
    numbers = Comparison([first, second, other], resamples=200).numbers
    np.testing.assert_array_equal(numbers[0], numbers[1])
    assert abs(np.corrcoef(numbers[0, 1, 1:], numbers[2, 1, 1:])[0, 1]) < 0.3


def test_another_system_changes_no_draw():
    task = task_of("t")
    fewer = TaskAnswers(
        "t", LABEL, task.references, task.clusters, {s: task.answers[s] for s in (VANILLA, FRAME)}
    )
    whole, part = Comparison([task], 100), Comparison([fewer], 100)
    assert whole.difference(FRAME, VANILLA) == part.difference(FRAME, VANILLA)
    assert whole.average(FRAME) != Comparison([task], 100, seed=1).average(FRAME)


def test_clear_difference_and_equal_systems():
    systems = ((VANILLA, 0.95), (FRAME, 0.95), (RANDOM, 0.2))
    compared = Comparison([task_of(name, systems=systems, seed=ord(name)) for name in "abc"])
    worse = compared.difference(RANDOM, FRAME)
    assert worse.verdict == "worse"
    assert worse.low < worse.value < worse.high < 0
    assert compared.difference(FRAME, RANDOM).verdict == "better"
    assert compared.difference(FRAME, FRAME) == Estimate(0, 0, 0)
    assert compared.difference(FRAME, FRAME).verdict == "tie"


def test_pairing_narrows_the_interval():
    """Two systems that fail on the same hard clusters differ little wherever they are drawn."""
    hard = [index % 2 == 0 for index in range(20)]
    same = ["" if h else "one two three" for h in hard]
    near = ["one" if h else "one two three" for h in hard]
    compared = Comparison([spoken("v", {VANILLA: same, FRAME: near})])
    alone, paired = compared.score("v", FRAME), compared.difference(FRAME, VANILLA, "v")
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_what_one_cluster_makes_alone_is_a_tie():
    right, wrong = ["one two three"] * 40, ["four"] + ["one two three"] * 39
    assert (
        Comparison([spoken("v", {VANILLA: right, FRAME: wrong})]).difference(FRAME, VANILLA).verdict
        == "tie"
    )
    wrong = ["four"] * 6 + ["one two three"] * 34
    single = Comparison([spoken("v", {VANILLA: right, FRAME: wrong})])
    assert single.difference(FRAME, VANILLA).verdict == "worse"
    # the same six errors, all in one speaker's recordings
    clusters = ["loud"] * 6 + [str(index) for index in range(34)]
    clustered = Comparison([spoken("v", {VANILLA: right, FRAME: wrong}, clusters)])
    assert clustered.difference(FRAME, VANILLA).verdict == "tie"


def test_one_cluster_gives_no_interval():
    transcripts = {VANILLA: ["one two three"] * 3, FRAME: ["one"] * 3}
    compared = Comparison(
        [task_of("t", systems=((VANILLA, 0.9), (FRAME, 0.1))), spoken("v", transcripts, ["x"] * 3)]
    )
    estimate = compared.difference(FRAME, VANILLA, "v")
    assert estimate.value == pytest.approx(-2 / 3)
    assert estimate.verdict == "tie"
    assert estimate.as_dict() == {"value": -0.666667, "low": None, "high": None}
    assert np.isnan(compared.average(FRAME).low)
    assert compared.difference(FRAME, VANILLA, "t").verdict == "worse"


def test_few_clusters_tell_nothing_however_they_agree():
    right, wrong = ["one two three"] * 10, ["four"] * 10
    for clusters, tells in ((5, False), (6, True)):
        speakers = [str(index % clusters) for index in range(10)]
        compared = Comparison([spoken("v", {VANILLA: right, FRAME: wrong}, speakers)])
        assert compared.tells("v") == tells
        assert compared.tells(None)
        # by chance all of n clusters favour the same system in 2 of 2^n cases
        assert (2 / 2**clusters < 0.05) == tells


def test_a_task_that_a_resample_misses_is_undefined_there():
    """A task of two speakers among the many of another task that one of the two serves as well."""
    large = task_of("large", n=200, clusters=40, systems=((VANILLA, 0.9),))
    small = spoken("small", {VANILLA: ["one", "one two"]}, ["large/0", "large/1"])
    compared = Comparison([large, small], resamples=1000)
    missed = np.isnan(compared.numbers[1, 0]).mean()
    assert 0.05 < missed < 0.3  # (38/40)^40 = 0.13
    estimate = compared.score("small", VANILLA)
    assert (estimate.low, estimate.high) == (0, 1)  # Student's with one degree of freedom


def test_rounding_makes_no_difference():
    assert Estimate(1e-16, 1e-17, 3e-16).verdict == "tie"
    assert Estimate(-1e-3, -2e-3, -1e-6).verdict == "worse"


def test_share_of_nothing_is_undefined():
    compared = Comparison([spoken("v", {VANILLA: ["", ""], FRAME: ["one", "one"]})])
    assert compared.average(FRAME).as_dict() == {"value": None, "low": None, "high": None}


def test_interval_covers_about_as_often_as_it_says():
    """Of 95 % intervals from 40 clusters, 88 to 99 % hold the truth."""
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        hit = np.repeat(rng.random(40) < 0.5, 3)
        answers = [("one" if h else "two") for h in hit]
        task = TaskAnswers(
            "t", TRANSCRIPT, ["one"] * 120, [str(i // 3) for i in range(120)], {VANILLA: answers}
        )
        estimate = Comparison([task], resamples=300, seed=trial).score("t", VANILLA)
        held += estimate.low <= 0.5 <= estimate.high
    assert 176 <= held <= 198


def test_large_table_takes_seconds():
    systems = [(VANILLA, 0.9)]
    systems += [((f"method {m}", r), 0.8) for m in range(20) for r in (0.3, 0.6, 0.9, 0.95)]
    tasks = [task_of(f"t{i}", n=150, clusters=40, systems=systems, seed=i) for i in range(10)]
    start = time.process_time()
    compared = Comparison(tasks)
    assert compared.numbers.shape == (10, 81, 2001)
    assert time.process_time() - start < 20  # about 2 s of one core


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "at least one task"),
        ([task_of("t"), task_of("t")], "a name of its own"),
        ([task_of("t", systems=((FRAME, 0.5),))], "vanilla"),
        ([task_of("t"), task_of("u", systems=((VANILLA, 0.5),))], "u has the systems"),
        ([TaskAnswers("t", LABEL, ["a", "b"], ["x", "y"], {VANILLA: ["a"]})], "differ in number"),
        ([TaskAnswers("t", LABEL, [], [], {VANILLA: []})], "differ in number"),
        ([TaskAnswers("t", JUDGED, ["a"], ["x"], {VANILLA: ["a"]})], "have no metric"),
    ],
)
def test_what_does_not_compare(tasks, message):
    with pytest.raises(ValueError, match=message):
        Comparison(tasks)


def test_what_lies_behind_many_items_is_drawn_too():
    """Frame fails over one of four background clips: 40 speakers do not make that certain."""
    right = ["one two three"] * 40
    wrong = ["four" if index % 4 == 0 else "one two three" for index in range(40)]
    task = spoken("v", {VANILLA: right, FRAME: wrong})
    behind = replace(task, backgrounds=[f"clip {index % 4}" for index in range(40)])
    assert Comparison([task]).difference(FRAME, VANILLA, "v").verdict == "worse"
    found = Comparison([behind]).difference(FRAME, VANILLA, "v")
    assert found.verdict == "tie"
    assert found.p > 0.1
    nothing = replace(task, backgrounds=[""] * 40)
    assert Comparison([nothing]).score("v", FRAME) == Comparison([task]).score("v", FRAME)


def test_tasks_share_what_lies_behind():
    first, second = (
        replace(task_of(name), backgrounds=[f"clip {index % 5}" for index in range(60)])
        for name in ("first", "second")
    )
    numbers = Comparison([first, second], resamples=2000).numbers
    assert np.corrcoef(numbers[0, 1, 1:], numbers[1, 1, 1:])[0, 1] > 0.1
