"""Tables in the paper's layout: fed with the paper's own columns, they give its averages."""

import json
from types import SimpleNamespace

import pytest

from calibrate.reproduction import published as module
from calibrate.reproduction.published import AUDIOMARATHON, METHODS, MMAU_PRO, published
from calibrate.reproduction.tables import as_dict, table, text

MODELS = ("Qwen/Qwen2.5-Omni-3B", "Qwen/Qwen2.5-Omni-7B", "microsoft/Phi-4-multimodal-instruct")


def results(layout, numbers, sizes=None, lacking=()):
    """What an evaluation would have found if its scores were those printed."""
    tasks = [task for task in layout.columns if task not in lacking]
    systems = [(method, round(1 - kept / 100, 2)) for method, kept in numbers]
    scores = {}
    for (_, row), (method, ratio) in zip(numbers.items(), systems, strict=True):
        for task in tasks:
            value = row[layout.columns[task]] / 100
            scores[task, (method, ratio)] = {"score": {"value": value}, "accuracy": value}
    counts = {"items": 10, "faults": 0, "excluded": 0, "expected": 10}
    facts = {task: {"items": (sizes or {}).get(task, 10)} for task in tasks}
    return SimpleNamespace(
        scores=scores,
        systems=systems,
        raw={"dataset": {"tasks": dict.fromkeys(tasks, counts)}, "tasks": facts},
    )


@pytest.mark.parametrize("model", MODELS)
def test_averages_of_table_1_are_the_papers(model):
    paper = published(model)
    assert paper.same
    shown = table(results(AUDIOMARATHON, paper.scores["audiomarathon"]), AUDIOMARATHON, paper)
    assert len(shown.lines) == 16
    for line in shown.lines:
        assert line.paper
        assert line.ours["average"] == pytest.approx(line.paper["average"], abs=0.25)
        for heading in AUDIOMARATHON.columns.values():
            assert line.ours[heading] == pytest.approx(line.paper[heading])


def test_mmau_pro_counts_each_item_once():
    paper = published("qwen2.5-omni-3b")
    sizes = dict(zip(MMAU_PRO.columns, (30, 10, 20, 40, 0.001), strict=True))
    numbers = paper.scores["mmau_pro"]
    shown = table(results(MMAU_PRO, numbers, sizes), MMAU_PRO, paper)
    last, first = shown.lines[-1], shown.lines[0]
    assert (first.method, last.method, last.kept) == ("Vanilla", "HeadRouter", 10)
    headings = MMAU_PRO.columns.values()
    right, whole = (
        sum(line.ours[name] * size for name, size in zip(headings, sizes.values(), strict=True))
        for line in (last, first)
    )
    assert last.ours["average"] == pytest.approx(100 * right / whole)


def test_what_is_lacking_is_named_and_does_not_count():
    paper = published("tiny-omni")
    assert (paper.model, paper.same) == ("Qwen2.5-Omni-3B", False)
    numbers = paper.scores["audiomarathon"]
    found = results(AUDIOMARATHON, numbers, lacking=("SAR", "SGR"))
    found.raw["dataset"]["tasks"]["MC"] = {"items": 4, "faults": 1, "excluded": 0, "expected": 5}
    shown = table(found, AUDIOMARATHON, paper)
    assert shown.missing == ("SAR", "SGR")
    assert shown.incomplete == ("MC",)
    printed = text(shown, paper)
    assert "another model" in printed
    assert "missing: SAR, SGR" in printed
    assert max(map(len, printed.splitlines())) <= 80
    kept = [name for name in AUDIOMARATHON.columns.values() if name not in ("SAR", "SGR")]
    line, vanilla = shown.lines[-1], shown.lines[0]
    mean = sum(line.ours[name] for name in kept) / sum(vanilla.ours[name] for name in kept)
    assert line.ours["average"] == pytest.approx(100 * mean)
    json.dumps(as_dict(shown, paper))


def test_a_model_that_gets_nothing_right_has_no_average():
    paper = published("tiny-omni")
    zero = dict.fromkeys(AUDIOMARATHON.columns.values(), 0.0)
    shown = table(results(AUDIOMARATHON, {("vanilla", 100): zero}), AUDIOMARATHON, paper)
    assert "average" not in shown.lines[0].ours
    assert text(shown, paper).splitlines()[3].endswith(" -")


def test_our_methods_stand_behind_the_papers():
    paper = published("qwen2.5-omni-3b")
    row = dict.fromkeys(AUDIOMARATHON.columns.values(), 50.0)
    systems = [("adaptive_segments", 40), ("vanilla", 100), ("headrouter:auto", 40), ("frame", 40)]
    shown = table(results(AUDIOMARATHON, dict.fromkeys(systems, row)), AUDIOMARATHON, paper)
    names = [line.method for line in shown.lines]
    assert names == ["Vanilla", "Frame", "HeadRouter", "adaptive_segments"]
    assert not shown.lines[-1].paper
    assert set(METHODS.values()) >= {"HeadRouter", "Frame"}


def test_all_that_is_printed_is_read():
    content = json.loads(module._FILE.read_text("utf-8"))
    for model in MODELS:
        scores = published(model).scores
        for layout in (AUDIOMARATHON, MMAU_PRO):
            rows = content[layout.key][published(model).model]
            assert sum(map(len, rows.values())) == len(scores[layout.key])
