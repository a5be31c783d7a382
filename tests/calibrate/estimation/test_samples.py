"""Samples: the shipped scenes, and manifests with everything that can be wrong in them."""

import json

import numpy as np
import pytest
import soundfile

from calibrate.estimation.samples.sample import (
    FOLDS,
    REPORT,
    manifest_digest,
    manifest_samples,
    shipped_samples,
)
from headrouter_core.errors import UsageError
from tiny_omni.questions import TASKS

RATE = 16_000


@pytest.fixture
def folder(tmp_path):
    """Twelve recordings of six speakers, in a folder of their own."""
    (tmp_path / "clips").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        samples = 0.1 * rng.standard_normal(RATE).astype(np.float32)
        soundfile.write(tmp_path / "clips" / f"{number}.wav", samples, RATE)
    return tmp_path


def entries(key="audio_filepath"):
    for number in range(12):
        for task, group in (("words", "semantic"), ("sounds", "acoustic")):
            yield {
                key: f"clips/{number}.wav",
                "task": task,
                "group": group,
                "prompt": f"What about {task}?",
                "answer": f"answer {number}",
                "speaker": f"speaker {number // 2}",
            }


def write(folder, rows, name="manifest.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_shipped_samples_are_balanced_and_of_one_length():
    samples = shipped_samples(4)
    tasks = {sample.task for sample in samples}
    assert tasks == set(TASKS)
    for task in tasks:
        mine = [sample for sample in samples if sample.task == task]
        assert sum(not sample.held_out for sample in mine) == 4
        assert sum(sample.held_out for sample in mine) == 4
    assert {len(sample.read()) for sample in samples} == {10 * RATE}
    assert manifest_digest(samples) == manifest_digest(shipped_samples(4))
    assert manifest_digest(samples) != manifest_digest(shipped_samples(4, seed=1))


def test_shipped_parts_share_no_speaker_and_no_recording():
    from tiny_omni.clips import load_clips
    from tiny_omni.parts import parts

    by_fold = parts(load_clips("calibration"), FOLDS)
    held = by_fold.pop(REPORT)
    used = [clip for clips in by_fold.values() for clip in clips]
    assert len(held) + len(used) == len(load_clips("calibration"))
    for clips in (held, used):
        assert {clip.kind for clip in clips} == {clip.kind for clip in load_clips("calibration")}
    places = {}
    for fold, clips in {REPORT: held, **by_fold}.items():
        for clip in clips:
            for name in filter(None, (clip.speaker, clip.source)):
                assert places.setdefault(name, fold) == fold
    files = [clip.file for clips in by_fold.values() for clip in clips]
    assert len(files) == len(set(files))


def test_shipped_folds_share_nobody_who_is_asked_about():
    samples = shipped_samples(6, seconds=4.0)
    sides = {}
    for sample in samples:
        assert sides.setdefault(sample.cluster, sample.fold) == sample.fold
    german = {s.fold for s in samples if s.task in ("sentence", "emotion") and not s.held_out}
    assert len(german) == 1  # one speaker
    assert {s.fold for s in samples if s.task == "digits"} == {REPORT, *range(FOLDS)}


@pytest.mark.parametrize("key", ["audio_filepath", "file_name"])
def test_manifest_keeps_speakers_on_one_side(folder, key):
    samples = manifest_samples(write(folder, entries(key)), 10)
    sides = {}
    for sample in samples:
        assert sides.setdefault(sample.cluster, sample.fold) == sample.fold
    assert {sample.fold for sample in samples} == {REPORT, *range(FOLDS)}
    assert samples[0].read().shape == (RATE,)


def test_manifest_draw_follows_the_seed(folder):
    path = write(folder, entries())
    first = [sample.id for sample in manifest_samples(path, 2, seed=1)]
    assert first == [sample.id for sample in manifest_samples(path, 2, seed=1)]
    assert first != [sample.id for sample in manifest_samples(path, 2, seed=2)]


def test_audio_folder_with_csv(folder):
    rows = list(entries("file_name"))
    header = list(rows[0])
    lines = [",".join(header)] + [",".join(row[key] for key in header) for row in rows]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert {sample.task for sample in manifest_samples(folder, 10)} == {"words", "sounds"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio_filepath": "clips/none.wav"}, "no such audio file"),
        ({"audio_filepath": 5}, "needs a text in audio_filepath or file_name"),
        ({"group": "visual"}, "group is 'visual'"),
        ({"answer": ""}, "needs a text in 'answer'"),
        ({"prompt": None}, "needs a text in 'prompt'"),
    ],
)
def test_bad_entry_names_file_and_line(folder, change, message):
    rows = list(entries())
    rows[3] = {**rows[3], **change}
    path = write(folder, rows)
    with pytest.raises(UsageError, match=message) as raised:
        manifest_samples(path, 10)
    assert f"{path}:4" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no entries"),
        ('{"task": "a"\n', r":1: not JSON"),
        ("[1, 2]\n", r":1: expected a JSON object"),
    ],
)
def test_bad_file(tmp_path, text, message):
    path = tmp_path / "manifest.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        manifest_samples(path, 10)


def test_not_text(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        manifest_samples(path, 10)


def test_missing_manifest_and_folder_without_metadata(tmp_path):
    with pytest.raises(UsageError, match="no such manifest"):
        manifest_samples(tmp_path / "none.jsonl", 10)
    with pytest.raises(UsageError, match="neither metadata"):
        manifest_samples(tmp_path, 10)


def test_one_group_alone_is_refused(folder):
    rows = [row for row in entries() if row["group"] == "semantic"]
    with pytest.raises(UsageError, match="no acoustic task"):
        manifest_samples(write(folder, rows), 10)


def test_task_in_both_groups_is_refused(folder):
    rows = [{**row, "task": "same"} for row in entries()]
    with pytest.raises(UsageError, match="in both groups"):
        manifest_samples(write(folder, rows), 10)


def test_too_few_speakers_are_refused(folder):
    rows = [{**row, "speaker": "one"} for row in entries()]
    with pytest.raises(UsageError, match="1 distinct"):
        manifest_samples(write(folder, rows), 10)


def test_repeated_entry_is_refused(folder):
    rows = list(entries())
    with pytest.raises(UsageError, match="same entry as in line 1"):
        manifest_samples(write(folder, [*rows, rows[0]]), 10)
