"""Manifests and audio folders as items."""

import csv
import json

import pytest

from calibrate.evaluation.datasets.manifest import manifest
from calibrate.evaluation.scoring.items import CHOICE, JUDGED, LABEL, TRANSCRIPT
from headrouter_core.errors import UsageError
from tests.calibrate.evaluation.datasets.audio_files import write_audio

ENTRY = {
    "file_name": "clips/a b.wav",
    "task": "rooms",
    "group": "acoustic",
    "prompt": "Where is this?\nA. kitchen\nB. hall",
    "answer": "B",
    "choices": ["kitchen", "hall"],
}


@pytest.fixture
def folder(tmp_path):
    write_audio(tmp_path / "clips" / "a b.wav", seed=1)
    write_audio(tmp_path / "clips" / "c.wav", seed=2)
    return tmp_path


def write(folder, *rows):
    path = folder / "metadata.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_same_options_throughout_are_classes(folder):
    swapped = {**ENTRY, "file_name": "clips/c.wav", "choices": ["Hall", "kitchen"], "answer": "A"}
    first, second = manifest(write(folder, ENTRY, swapped)).items
    assert first.kind == CHOICE
    assert first.prompt == ENTRY["prompt"]
    assert (first.reference, first.labels) == ("hall", ("kitchen", "hall"))
    assert (second.reference, second.labels) == ("hall", ("hall", "kitchen"))
    assert first.read()[0].shape == (1600,)


def test_options_that_change_count_by_letter(folder):
    other = {**ENTRY, "file_name": "clips/c.wav", "choices": ["street", "lift"], "answer": "Lift."}
    first, second = manifest(write(folder, ENTRY, other)).items
    assert (first.reference, second.reference) == ("B", "B")
    assert second.choices == ("street", "lift")


def test_labels_transcripts_and_open_answers(folder):
    label = {**ENTRY, "task": "names", "answer": "rain", "choices": []}
    twin = {**label, "file_name": "clips/c.wav", "answer": "Sea waves"}
    spoken = {**label, "task": "words", "answer": "One, two.", "kind": "transcript"}
    judged = {**label, "task": "why", "kind": "judged", "speaker": "ann", "prompt": "Why?"}
    dataset = manifest(write(folder, label, twin, spoken, judged))
    assert [item.kind for item in dataset.items] == [LABEL, LABEL, TRANSCRIPT, JUDGED]
    assert dataset.items[0].labels == dataset.items[1].labels == ("rain", "Sea waves")
    assert dataset.items[2].reference == "One, two."
    assert dataset.items[2].max_new_tokens > dataset.items[0].max_new_tokens
    assert dataset.items[3].judge == {"question": "Why?"}
    assert [item.cluster for item in dataset.items[2:]] == ["clips/a b.wav", "ann"]


def test_missing_audio_is_named_and_makes_the_set_incomplete(folder):
    lost = {**ENTRY, "file_name": "clips/lost.wav"}
    dataset = manifest(write(folder, ENTRY, lost))
    assert len(dataset.items) == 1
    report = dataset.report()
    assert not report["complete"]
    assert report["tasks"]["rooms"] == {"items": 1, "faults": 1, "excluded": 0, "expected": None}
    assert report["faults"][0]["reason"] == "no such audio file: clips/lost.wav"


def test_audio_folder_with_csv_keeps_line_breaks_in_prompts(folder):
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(ENTRY))
        writer.writeheader()
        writer.writerow({**ENTRY, "choices": json.dumps(ENTRY["choices"])})
    (item,) = manifest(folder).items
    assert item.prompt == ENTRY["prompt"]
    assert item.choices == ("kitchen", "hall")


def test_line_separators_inside_a_text_end_no_line(folder):
    entry = {**ENTRY, "prompt": "one\u2028two\x85three"}
    path = folder / "metadata.jsonl"
    path.write_text(json.dumps(entry, ensure_ascii=False) + "\n", "utf-8")
    assert manifest(path).items[0].prompt == entry["prompt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "quiz"}, "kind is 'quiz'"),
        ({"kind": "choice", "choices": None}, "needs its options"),
        ({"choices": ["one"]}, "list of 2 to 26 texts"),
        ({"choices": ["one", "..."]}, "list of 2 to 26 texts"),
        ({"choices": "kitchen, hall"}, "no JSON list"),
        ({"choices": "[" * 100_000}, "no JSON list"),
        ({"choices": f"[{'9' * 5000}]"}, "no JSON list"),
        ({"choices": '{"a": 1}'}, "list of 2 to 26 texts"),
        ({"answer": "cellar"}, "answer 'cellar' is none of"),
        ({"answer": "A or B"}, "answer 'A or B' is none of"),
        ({"choices": None, "answer": "?"}, "no letters or digits"),
        ({"kind": "transcript", "answer": "..."}, "has no words"),
    ],
)
def test_bad_lines_are_named(folder, change, message):
    path = write(folder, ENTRY, {**ENTRY, "file_name": "clips/c.wav", **change})
    with pytest.raises(UsageError, match=message) as raised:
        manifest(path)
    assert f"{path}:2" in str(raised.value)


def test_items_share_a_vocabulary_that_is_closed(folder, monkeypatch):
    rows = [
        {**ENTRY, "choices": [], "prompt": f"What is number {n}?", "answer": f"thing {n}"}
        for n in range(6)
    ]
    first, *others = manifest(write(folder, *rows)).items
    assert len(first.choices) == 6
    assert all(item.choices is first.choices is item.labels for item in others)
    monkeypatch.setattr("calibrate.evaluation.datasets.manifest._MOST_LABELS", 5)
    with pytest.raises(UsageError, match=r"metadata.jsonl:1: task 'rooms' has 6 different answers"):
        manifest(write(folder, *rows))
    assert len(manifest(write(folder, *({**row, "kind": "judged"} for row in rows))).items) == 6
