"""What is probed are the states that enter the pruning layer, of tasks that have labels."""

from dataclasses import replace

import pytest
import torch

from calibrate.evaluation.asking.methods import METHODS
from calibrate.evaluation.asking.run import Plan
from calibrate.evaluation.datasets.scenes import scenes
from calibrate.evaluation.probing import measuring
from calibrate.evaluation.scoring.items import CHOICE, TRANSCRIPT
from calibrate.models.selecting import build_selector
from calibrate.terminal.console import STDERR
from calibrate.terminal.progress import Progress
from headrouter_core import families, prune
from tests.calibrate.evaluation.made_up import items

NAMES = ("frame", "headrouter", "affinity_merge", "adaptive_segments")


@pytest.fixture(scope="module")
def plan(profile):
    return Plan(tuple(METHODS[name] for name in NAMES), (0.6, 0.9), 2, 0, profile)


def test_states_are_those_that_enter_the_pruning_layer(loaded, profile, plan):
    item = scenes(6.0, 1, "calibration").items[0]
    found = measuring._pooled(loaded, item, plan)
    audios = item.read()
    inputs = loaded.place(loaded.frontend.inputs(audios, item.prompt))
    audio = (inputs["input_ids"][0] == families.locate(loaded.model).audio_ids[0]).nonzero()[:, 0]
    layer = families.locate(loaded.model).layers[2]
    for row, (name, ratio) in zip(found, plan.systems, strict=True):
        seen = []
        # inside the pruning context, whose hook comes first
        if name == "vanilla":
            handle = layer.register_forward_pre_hook(
                lambda _, args, kwargs, seen=seen: seen.append(given(args, kwargs)),
                with_kwargs=True,
            )
            loaded.model(**inputs)
            k = len(audio)
        else:
            method = METHODS[name]
            selector = build_selector(
                method.kind, profile=profile, seed=0, audios=audios, frontend=loaded.frontend,
                **method.options,
            )  # fmt: skip
            with prune(loaded.model, selector, ratio, 2) as trace:
                handle = layer.register_forward_pre_hook(
                    lambda _, args, kwargs, seen=seen: seen.append(given(args, kwargs)),
                    with_kwargs=True,
                )
                loaded.model(**inputs)
            k = len(trace[0].kept)
        handle.remove()
        first = int(audio[0])
        wanted = seen[0][0, first : first + k].float().mean(0)
        torch.testing.assert_close(row, wanted, atol=1e-5, rtol=1e-5, msg=f"{name} {ratio}")


def given(args, kwargs):
    return args[0] if args else kwargs["hidden_states"]


def test_tasks_without_classes_are_named_with_the_reason():
    digits, events = items(("digits",)), items(("event",))
    assert "no labels" in measuring._obstacle(digits)
    assert measuring._obstacle(events) is None
    letters = [replace(item, kind=CHOICE, labels=("A", "B", "C"), reference="A") for item in events]
    assert "letters" in measuring._obstacle(letters)
    alone = [replace(item, cluster=item.reference) for item in events]
    assert "fewer than two" in measuring._obstacle(alone)
    assert {item.kind for item in digits} == {TRANSCRIPT}


@torch.inference_mode()
def test_what_was_kept_is_what_is_probed(monkeypatch, plan):
    """States that say the label for some systems, and nothing for others."""
    events = items(("event",), 60)
    labels = sorted({item.reference for item in events})
    noise = torch.Generator().manual_seed(0)

    def pooled(loaded, item, plan):
        row = torch.randn(len(plan.systems), 16, generator=noise)
        for place, (method, _) in enumerate(plan.systems):
            if method in ("vanilla", "frame"):
                row[place, labels.index(item.reference)] += 9
        return row

    monkeypatch.setattr(measuring, "_pooled", pooled)
    with Progress(STDERR) as progress:
        found = measuring.measure(None, [*events, *items(("digits",))], plan, progress)
    assert list(found["tasks"]) == ["event"]
    assert found["tasks"]["event"]["classes"] == 3
    assert found["tasks"]["event"]["most_frequent"] == pytest.approx(1 / 3, abs=1e-6)
    assert list(found["skipped"]) == ["digits"]
    rows = {(r["probe"], r["method"], r["ratio"]): r for r in found["scores"]}
    assert len(rows) == 2 * len(plan.systems)
    for (_, method, _), row in rows.items():
        if method in ("vanilla", "frame"):
            assert row["score"]["value"] > 0.8
        else:
            assert row["score"]["value"] < 0.6
            assert row["against_vanilla"]["verdict"] == "worse"
            assert row["against_frame"]["verdict"] == "worse"
    averages = {(r["probe"], r["method"], r["ratio"]): r for r in found["averages"]}
    share = averages["linear", "frame", 0.9]["percent_of_vanilla"]["value"]
    assert share == pytest.approx(100, abs=15)
