"""What synthetic speech says, and the scenes in which somebody talks."""

import json
from itertools import islice

import numpy as np
import pytest
import soundfile

from small_omni.recipe.talks import Talks, load_spoken
from small_omni.speech import __main__ as command
from small_omni.speech.texts import Turn, Utterance, examples, normalized, utterances
from small_omni.speech.voices import Voice
from tiny_omni import AUDIO_DIR
from tiny_omni.clips import Bank

HEARD = "destined to play the leading part"
GLOSSES = (
    '01 n | a meal; "they ate the bread in silence"; "bread (with butter) is not plain"',
    f'02 n | a fate; "he was {HEARD} in it"',
    '03 n | a bird; "too short"; "the crow sat on a branch and watched us"',
)


@pytest.fixture
def wordnet(tmp_path):
    folder = tmp_path / "wordnet"
    folder.mkdir()
    for name in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{name}").write_text("\n".join(GLOSSES if name == "noun" else ()))
    return folder


def test_examples_are_plain_sentences(wordnet):
    assert examples(wordnet) == [
        f"he was {HEARD} in it",
        "the crow sat on a branch and watched us",
        "they ate the bread in silence",
    ]
    (wordnet / "data.adv").unlink()
    with pytest.raises(FileNotFoundError, match="wordnet-base"):
        examples(wordnet)


def test_nothing_is_said_that_a_test_sentence_says(wordnet):
    rows = map(json.loads, (AUDIO_DIR / "metadata.jsonl").read_text("utf-8").splitlines())
    real = [
        f" {row['transcript']} "
        for row in rows
        if row["task"] == "sentence_transcription" and row["split"] != "train"
    ]
    assert any(HEARD in transcript for transcript in real)
    made = list(islice(utterances(0, wordnet), 400))
    assert {utterance.kind for utterance in made} == {"sentence", "number", "wish", "dialogue"}
    for utterance in made:
        for turn in utterance.turns:
            words = turn.words.split()
            for start in range(len(words) - 3):
                run = f" {' '.join(words[start : start + 4])} "
                assert not any(run in transcript for transcript in real), turn.text
        if utterance.asked:
            assert utterance.asked in utterance.turns[0].words or "o'clock" in utterance.asked


def test_transcripts_are_words_only():
    assert normalized("No, it's 'five' O'clock - now!") == "no it's 'five' o'clock now"


@pytest.fixture
def speech(tmp_path, wordnet, monkeypatch):
    """A folder of twelve utterances, said by a voice that only beeps."""

    def beep(self, text):
        return np.sin(np.arange(1600 * len(text.split())) * 0.3).astype(np.float32)

    monkeypatch.setattr(Voice, "say", beep)
    folder = tmp_path / "speech"
    assert command.make(folder, 8, 0, wordnet) == 8
    assert command.make(folder, 12, 0, wordnet) == 4
    assert command.make(folder, 12, 0, wordnet) == 0
    return folder


def test_every_turn_is_a_clip(speech):
    rows = list(map(json.loads, (speech / "metadata.jsonl").read_text().splitlines()))
    assert {row["utterance"] for row in rows} == set(range(12))
    for row in rows:
        info = soundfile.info(speech / "train" / row["file"])
        assert (info.samplerate, info.channels) == (16_000, 1)
        assert info.duration == pytest.approx(0.1 * len(row["words"].split()), abs=0.25)
    kinds = load_spoken(speech)
    assert len(kinds["real"]) == 88
    assert sum(len(kinds[kind]) for kind in kinds if kind != "real") == 12


def test_talks_ask_about_what_is_said(speech):
    talks = Talks(speech, Bank.of("train"))
    seen = set()
    for number in range(20):
        scene, asked = talks.compose(str(number), 8.0)
        again, _ = talks.compose(str(number), 8.0)
        assert np.array_equal(scene.samples, again.samples)
        talk = scene.item("talk")
        answers = {question.task: question.answer for question in asked}
        assert answers["transcribe"] == " ".join(normalized(label) for label in talk.labels)
        if "speakers" in answers:
            voices = {placed.clip.speaker for placed in talk.clips}
            assert answers["speakers"] == ("zero", "one", "two", "three")[len(voices)]
        for question in asked:
            if question.task == "said":
                word = question.prompt.split("word ")[-1].strip('"?').split('"')[0]
                word = question.prompt.split('"')[1] if '"' in question.prompt else word
                assert (word in answers["transcribe"].split()) == (question.answer == "yes")
        seen |= set(answers)
    assert {"transcribe", "said", "background"} <= seen


def test_a_dialogue_is_said_by_several_voices(tmp_path, monkeypatch):
    monkeypatch.setattr(Voice, "say", lambda self, text: np.zeros(1600, np.float32))
    turns = (Turn("good morning", 0), Turn("good morning to you", 1), Turn("bye", 0))
    rows = command._say(tmp_path, 5, Utterance("dialogue", turns), 0)
    assert [row["words"] for row in rows] == ["good morning", "good morning to you", "bye"]
    assert rows[0]["voice"] == rows[2]["voice"] != rows[1]["voice"]
