"""A made-up evaluation: records of the true form with drawn answers, without any model."""

import numpy as np

from calibrate.evaluation.asking.timing import COLUMNS
from calibrate.evaluation.comparing.results import build, systems_of
from calibrate.evaluation.scoring.answers import parse
from calibrate.evaluation.scoring.items import LABEL, TRANSCRIPT, Dataset, Fault, Item
from calibrate.evaluation.scoring.metrics import scores
from calibrate.evaluation.showing.examples import _packed

METHODS = ("headrouter", "frame", "random", "headrouter:hard")
RATIOS = (0.3, 0.9)
WORDS = {"digits": (), "event": ("a cat", "a dog", "rain"), "gender": ("female", "male")}
GROUPS = {"digits": "semantic", "event": "acoustic", "gender": "acoustic"}
HEADS = 16


def items(tasks=tuple(WORDS), number=12):
    """Items whose sound nobody reads."""
    made = []
    for task in tasks:
        words = WORDS.get(task, WORDS["event"])
        for index in range(number):
            rng = np.random.default_rng([index, len(task)])
            spoken = " ".join(rng.choice(["one", "two", "three", "four"], 4))
            made.append(
                Item(
                    id=f"{task}/{index}",
                    task=task,
                    group=GROUPS.get(task, "acoustic"),
                    prompt=f"What of {task}?",
                    kind=LABEL if words else TRANSCRIPT,
                    reference=words[index % len(words)] if words else spoken,
                    cluster=f"{task}/{index // 2}",
                    audios=(lambda **_: np.zeros(16_000, np.float32),),
                    choices=words,
                    labels=words,
                )
            )
    return made


def record(item, systems, seed=0):
    """What a run would have written of an item: the more is pruned, the more answers are wrong."""
    rng = np.random.default_rng([seed, *item.id.encode()])
    tokens = 250
    said, lines, table, heard = [], [], [], []
    for place, (method, ratio) in enumerate(systems):
        right = rng.random() > 0.1 + ratio * (0.15 if method.startswith("headrouter") else 0.5)
        answer = item.reference if right else str(rng.choice(["", "four two", "a dog", "male"]))
        parsed = parse(item, answer)
        score = float(scores(item.kind, [item.reference], [parsed])[0])
        line = [answer, True, parsed, round(score, 4)]
        if line not in said:
            said.append(line)
        routed = None
        if method.startswith("headrouter"):
            shares = rng.dirichlet([4, 2, 1] if item.group == "semantic" else [1, 2, 4])
            table.append([round(float(rng.random()) / 5, 6), shares.round(4).tolist()])
            routed = len(table) - 1
        options = len(item.labels)
        chosen = int(rng.integers(options)) if options else None
        numbers = [round(float(rng.random()), 4), chosen, chosen, round(ratio * 0.1, 4)]
        heard.append([round(10 * (1 - ratio), 3), tokens, round(tokens * (1 - ratio))])
        lines.append([said.index(line), "0" * 8, routed, *numbers, min(place, 1), place])
    lean = 0.3 if item.group == "semantic" else 0.1
    return {
        "id": item.id,
        "task": item.task,
        "group": item.group,
        "kind": item.kind,
        "cluster": item.cluster,
        "background": item.background,
        "prompt": "0" * 8,
        "reference": item.reference,
        "labels": list(item.labels),
        "audio_tokens": tokens,
        "selectivity": (rng.random(HEADS) * lean * np.linspace(0.2, 1, HEADS)).round(4).tolist(),
        "said": said,
        "routing": table,
        "heard": heard,
        "replies": lines,
        "seconds": {"prefill": 0.1, "batches": [[0.01, 0.02], [0.02, 0.03]]},
    }


def header(methods=METHODS, ratios=RATIOS):
    """What would stand at the head of the journal."""
    return {
        "dataset": "made up",
        "items": {"number": 36, "digest": "0" * 64},
        "methods": {name: {"selector": name.partition(":")[0]} for name in methods},
        "ratios": list(ratios),
        "layer": 2,
        "seed": 0,
        "model": {"id": "nobody", "revision": None, "family": "none", "layers": 6, "heads": HEADS}
        | {"fingerprint": "f" * 64},
        "profile": None,
        "device": "cpu",
        "dtype": "float32",
        "attention": "sdpa",
        "decoder": "none",
        "normalisers": {},
        "versions": {"headrouter": "0"},
    }


def results(methods=METHODS, ratios=RATIOS, tasks=tuple(WORDS), number=12, faults=()):
    """A whole ``results.json``."""
    asked = items(tasks, number)
    systems = systems_of(methods, ratios)
    dataset = Dataset("made up", tuple(asked))
    missing = [Fault(f"{asked[0].task}/x", asked[0].task, reason) for reason in faults]
    dataset = Dataset("made up", tuple(asked), tuple(missing))
    return build(header(methods, ratios), dataset, [], [record(item, systems) for item in asked])


def timing(methods=METHODS, ratios=RATIOS, peak=None):
    """A whole ``timing.json``; with ``peak`` bytes as of a GPU."""
    systems = systems_of(methods, ratios)
    rng = np.random.default_rng(0)
    rows = [
        [
            *(0.02, 0.03, 0.1 * (1 - 0.6 * ratio) + 0.01 * rng.random(), 0.005),
            peak and int(peak * (1 - ratio / 3)),
        ]
        for _, ratio in systems
    ]
    return {
        "schema": 1,
        "device": "cpu",
        "threads": 1,
        "tokens": 9,
        "peak_bytes": "not measured: made up" if peak is None else "made up",
        "systems": [list(system) for system in systems],
        "columns": list(COLUMNS),
        "items": [{"id": "event/0", "audio_tokens": 250, "runs": 5, "systems": rows}],
    }


def sound(seconds=10.0, rate=16_000):
    """A tone that rises, between silences."""
    time = np.arange(int(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * (200 + 150 * time) * time)
    return (tone * (time % 4 < 2.5)).astype(np.float32)


def examples(found, chosen=("digits/0", "event/1"), audio_tokens=250):
    """A whole ``examples.json``; its files are called 0-0.flac, 1-0.flac, …"""
    rows = []
    for number, name in enumerate(chosen):
        rng = np.random.default_rng(number)
        kept = [
            np.sort(rng.choice(audio_tokens, round(audio_tokens * (1 - ratio)), replace=False))
            for _, ratio in found.systems
        ]
        rows.append(
            {
                "id": name,
                "prompt": "What do you hear?",
                "system": None,
                "audio_tokens": audio_tokens,
                "audios": [{"file": f"{number}-0.flac", "seconds": 10.0, "audio_tokens": 250}],
                "kept": [_packed(indices, audio_tokens) for indices in kept],
            }
        )
    return {
        "schema": 1,
        "seconds_per_token": 0.04,
        "systems": [list(system) for system in found.systems],
        "items": rows,
    }
