"""Scenes: deterministic, unambiguous, and made of the split's own clips."""

import itertools

import numpy as np
import pytest

from tiny_omni.clips import SAMPLE_RATE, SPLITS, Bank, load_clips
from tiny_omni.questions import TASKS, corpus, questions
from tiny_omni.scenes import KINDS, TOKEN_SAMPLES, compose
from tiny_omni.vocabulary import BEDS, DIGITS, EVENTS


@pytest.fixture(scope="module")
def bank():
    return Bank.of("calibration")


def test_splits_share_no_file_and_no_named_speaker():
    clips = {split: load_clips(split) for split in SPLITS}
    assert [len(clips[split]) for split in SPLITS] == [1599, 499, 346]
    for attribute in ("file", "speaker", "source"):
        seen = [{getattr(c, attribute) for c in clips[s]} - {None} for s in SPLITS]
        for first in range(3):
            for second in range(first):
                assert not seen[first] & seen[second], attribute


def test_unknown_split():
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        load_clips("dev")


def test_missing_clips_are_named(tmp_path):
    from tiny_omni import AUDIO_DIR

    (tmp_path / "metadata.jsonl").write_bytes((AUDIO_DIR / "metadata.jsonl").read_bytes())
    with pytest.raises(FileNotFoundError, match="346 clips of the test split"):
        load_clips("test", tmp_path)


def test_same_seed_same_scene(bank):
    first, second = compose(bank, 7, 8.0), compose(bank, 7, 8.0)
    assert np.array_equal(first.samples, second.samples)
    assert first.items == second.items
    assert not np.array_equal(first.samples, compose(bank, 8, 8.0).samples)
    varied = compose(bank, 7, 8.0, varied=True)
    assert np.array_equal(varied.samples, compose(bank, 7, 8.0, varied=True).samples)


@pytest.mark.parametrize("seconds", [6.0, 9.96, 30.0])
def test_scene_is_sound(bank, seconds):
    for seed in range(6):
        scene = compose(bank, seed, seconds)
        assert len(scene.samples) == round(seconds * SAMPLE_RATE / TOKEN_SAMPLES) * TOKEN_SAMPLES
        assert scene.samples.dtype == np.float32
        assert np.isfinite(scene.samples).all()
        assert 0.05 < np.abs(scene.samples).max() <= 1
        kinds = [item.kind for item in scene.items]
        assert len(set(kinds)) == len(kinds)
        spans = sorted((p.start, p.end) for item in scene.items for p in item.clips)
        assert spans[-1][1] <= len(scene.samples)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize("need", [*KINDS, "bed"])
def test_needed_kind_is_there(bank, need):
    for seed in range(5):
        scene = compose(bank, seed, 6.0, need=need)
        assert scene.bed if need == "bed" else scene.item(need)


def test_bad_arguments(bank):
    with pytest.raises(ValueError, match="4 to 60 s long, not 3 s"):
        compose(bank, 0, 3.0)
    with pytest.raises(ValueError, match="unknown kind 'song'"):
        compose(bank, 0, 8.0, need="song")


def test_digits_are_of_one_speaker(bank):
    for seed in range(10):
        item = compose(bank, seed, 12.0, need="digits").item("digits")
        assert len({placed.clip.speaker for placed in item.clips}) == 1
        assert 2 <= len(item.clips) <= 7


def test_beds_are_never_events():
    assert not set(BEDS) & set(EVENTS)


def test_every_task_can_be_asked(bank):
    for name, task in TASKS.items():
        for need in task.needs:
            scene = compose(bank, f"{name}/0", 10.0, need=need)
            (asked,) = questions(scene, 0, (name,))
            assert asked.task == name
            assert asked.group == task.group
            assert asked.prompt
            assert asked.answer


def test_reasoning_answers_follow_from_the_digits(bank):
    for seed in range(30):
        scene = compose(bank, seed, 10.0, need="digits")
        (asked,) = questions(scene, seed, ("reasoning",))
        digits = scene.item("digits").labels
        if "first" in asked.prompt:
            assert asked.answer == digits[0]
        elif "last" in asked.prompt:
            assert asked.answer == digits[-1]
        else:
            assert asked.prompt.startswith("How many")
            assert asked.answer == DIGITS[len(digits)]


def test_question_is_silent_about_what_is_not_there(bank):
    scene = next(
        scene
        for scene in (compose(bank, seed, 6.0, need="event") for seed in range(50))
        if scene.item("instrument") is None and scene.item("digits") is None
    )
    asked = {question.task for question in questions(scene, 0)}
    assert "event" in asked
    assert not asked & {"instrument", "digits", "reasoning"}


def test_corpus_holds_every_word_of_the_answers(bank):
    text = " ".join(corpus())
    for seed in range(10):
        for asked in questions(compose(bank, seed, 20.0), seed):
            assert all(word in text for word in asked.answer.split())
