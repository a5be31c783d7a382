"""AudioMarathon from small folders in exactly its layout."""

import json
import shutil

import pytest

from calibrate.evaluation.datasets.audiomarathon import IDENTITY, TASKS, audiomarathon
from calibrate.evaluation.scoring.answers import parse
from calibrate.evaluation.scoring.items import CHOICE, TRANSCRIPT
from calibrate.terminal.errors import AudioError
from headrouter_core.errors import UsageError
from tests.calibrate.evaluation.datasets.audio_files import write_audio

AGES = ("Young Adult (18-30)", "Early Career (31-40)", "Mid Career", "Senior", "Elderly (71+)")
FOUR = {"choice_a": "blues", "choice_b": "rock", "choice_c": "jazz", "choice_d": "pop"}
ASKED = {"question": "Which?", **FOUR, "answer_gt": "C"}


def annotate(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One or two recordings of every task, where the benchmark keeps them."""
    root = tmp_path_factory.mktemp("Audio Marathon")
    slue = {"path": "merged audio/ä 1.wav", **ASKED, "task_name": "NER", "uniq_id": 0}
    annotate(root / "SLUE/merged_audio_data.json", [slue])
    write_audio(root / "SLUE/merged audio/ä 1.wav")

    race = {
        "audio_path": "test/high/12/audio.wav",
        "question": "Who?",
        "options": ["Ann", "Ben", "Cid", "Dan"],
        "answer": "B",
        "article_id": "high12",
        "question_idx": 0,
    }
    annotate(root / "race_audio/race_benchmark.json", [race, {**race, "question": "When?"}])
    write_audio(root / "race_audio/test/high/12/audio.wav")

    chapter = root / "librispeech-long/test-clean/1089/134686"
    for name in ("1089-134686-1", "1089-134686-10", "1089-134686-2"):
        write_audio(chapter / f"{name}.flac")
    (chapter / "1089-134686-2.txt").write_text("Two, too.\n")
    (chapter / "1089-134686.trans.txt").write_text("1089-134686-10 TEN\n1089-134686-1 ONE MORE\n")

    desed = root / "DESED/DESED_dataset/concatenated_audio"
    event = {
        "path": "Speech/s.wav",
        "task_type": "single",
        "question": "Which sound?",
        "choices": {"A": "Speech", "B": "Dog", "C": "Cat", "D": "Dishes"},
        "answer_gt": "A",
    }
    annotate(desed / "desed_sound_event_detection_task.json", {"tasks": [event]})
    write_audio(desed / "Speech/s.wav")

    gtzan = root / "GTZAN/concatenated_audio"
    annotate(
        gtzan / "music_genre_classification_meta.json",
        [{"path": "jazz.wav", **ASKED}, {"path": "pop.wav", **ASKED, "answer_gt": "D"}],
    )
    write_audio(gtzan / "wav/jazz.wav")
    write_audio(gtzan / "pop.wav")

    tau = root / "TAU/concatenated_resampled"
    scene = {"choice_a": "Urban park - park", "choice_b": "Bus", "choice_c": "Tram"}
    scene |= {"choice_d": "Metro", "answer_gt": "a", "scene_label": "park", "path": "park\\1.wav"}
    annotate(tau / "acoustic_scene_task_meta.json", [scene])
    write_audio(tau / "park/1.wav")

    vesus = {"question": "Which emotion?", **FOUR, "answer_gt": "B"}
    annotate(
        root / "VESUS/audio_emotion_dataset_filtered.json",
        {
            "data": [
                {**vesus, "path": "Audio/1.wav", "person_id": 1, "emotion_label": "Happy"},
                {**vesus, "path": "Audio/2.wav", "person_id": 2, "emotion_label": "Happy"},
            ]
        },
    )
    write_audio(root / "VESUS/Audio/1.wav")

    for label in ("real", "fake"):
        write_audio(root / f"HAD/concatenated_audio/{label}/{label} x.wav")

    vox = root / "VoxCeleb/concatenated_audio"
    ages = {f"choice_{letter}": age for letter, age in zip("abcde", AGES, strict=True)}
    person = {"path": "id1/a.wav", "speaker_id_original": "id1"}
    annotate(
        vox / "age_classification_task_meta.json",
        [{**person, **ages, "question": "How old?", "answer_gt": AGES[1], "speaker_age": 33}],
    )
    annotate(
        vox / "gender_id_task_meta.json",
        [
            {
                **person,
                "question": "x",
                "choice_a": "Male",
                "choice_b": "Female",
                "answer_gt": "Female",
            }
        ],
    )
    write_audio(vox / "wav/id1/a.wav")
    return root


@pytest.fixture
def root(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def by_task(dataset, task):
    return [item for item in dataset.items if item.task == task]


def test_every_task_is_read_and_scored(whole):
    dataset = audiomarathon(whole)
    assert dataset.tasks == tuple(TASKS)
    assert not dataset.faults
    for item in dataset.items:
        assert item.read()[0].size == 1600
        assert item.kind == (TRANSCRIPT if item.task == "ASR" else CHOICE)
        assert item.group == ("semantic" if item.task in ("SER", "SCR", "ASR") else "acoustic")
    counts = {task: len(by_task(dataset, task)) for task in TASKS}
    assert counts == {**dict.fromkeys(TASKS, 1), "SCR": 2, "ASR": 3, "MC": 2, "SD": 2}
    assert audiomarathon(whole).items == dataset.items


def test_references_and_labels(whole):
    dataset = audiomarathon(whole)
    found = {task: [item.reference for item in by_task(dataset, task)] for task in TASKS}
    assert found == {
        "SER": ["C"],
        "SCR": ["B", "B"],
        "ASR": ["ONE MORE", "TEN", "Two, too."],
        "SED": ["A"],
        "MC": ["C", "D"],
        "ASC": ["A"],
        "ER": ["B"],
        "SD": ["real", "fake"],
        "SAR": ["early career 31-40"],
        "SGR": ["female"],
    }
    (age,), (gender,) = by_task(dataset, "SAR"), by_task(dataset, "SGR")
    assert parse(age, "b") == parse(age, AGES[1]) == age.reference
    assert parse(gender, "b") == parse(gender, "Female") == "female"
    assert parse(gender, "'a'") == "male"


def test_prompts_are_the_scripts_word_for_word(whole):
    dataset = audiomarathon(whole)
    prompts = {task: by_task(dataset, task)[0] for task in TASKS}
    assert prompts["SER"].prompt == (
        "You are a helpful assistant that analyzes speech audio for named entity recognition. "
        "Please listen carefully and extract the requested named entities from the speech.\n\n"
        "Which?\n\nA. blues\nB. rock\nC. jazz\nD. pop\n\nPlease listen to the audio and select the "
        "correct answer. Reply with only the letter (A, B, C, or D)."
    )
    assert prompts["SCR"].prompt.endswith(
        "based solely on the information from the audio.\n\nQuestion: Who?\n\nOptions:\nA. Ann\n"
        "B. Ben\nC. Cid\nD. Dan\n\n"
        "Respond with only the letter of the correct option (A, B, C, or D)."
    )
    assert prompts["ASR"].prompt.endswith(
        "\n\nTranscribe this audio accurately. Remove hesitation words like 'um', 'uh'. Your "
        "response should be formatted as follows: Spoken Content: <transcribed text here>"
    )
    assert prompts["SED"].prompt.startswith("Which sound?\n\nA. Speech\n")
    assert prompts["SED"].system.startswith("You are a helpful assistant that analyzes audio to de")
    assert prompts["MC"].prompt.startswith("Listen to this audio segment and identify the music")
    assert prompts["MC"].system == f"{IDENTITY} You are a helpful audio analysis assistant."
    assert prompts["ASC"].prompt.endswith(
        "\n\nListen to this audio and identify the acoustic scene. Choose the most appropriate "
        "option.\nA: Urban park - park\nB: Bus\nC: Tram\nD: Metro\n"
        "Respond with only the letter of your answer (A, B, C, or D)."
    )
    assert prompts["ER"].prompt.endswith(
        "\n\nWhich emotion?\n\nA) blues\nB) rock\nC) jazz\nD) pop\n\n"
        "Please select the correct answer (A, B, C, or D)."
    )
    assert prompts["SD"].prompt.startswith("Listen to this audio clip carefully. Is this audio")
    assert prompts["SD"].system.endswith("analyzes audio to determine authenticity.")
    assert prompts["SAR"].prompt.endswith(
        "(71+)\n\nPlease select the correct answer (A, B, C, D, or E)."
    )
    assert prompts["SGR"].prompt.endswith("answer 'b'. Answer with only 'a' or 'b'.")
    for task in ("SER", "SCR", "ASR", "ASC", "ER", "SAR", "SGR"):
        assert prompts[task].system == IDENTITY
    limits = {task: prompts[task].max_new_tokens for task in TASKS}
    assert limits == {**dict.fromkeys(TASKS, 5), "ER": 10, "ASR": 1100}


def test_another_identity(whole):
    dataset = audiomarathon(whole, ("SER", "MC", "SED"), identity=None)
    systems = {item.task: item.system for item in dataset.items}
    assert systems["SER"] is None
    assert systems["MC"] == "You are a helpful audio analysis assistant."
    assert systems["SED"].startswith("You are a helpful assistant that analyzes audio")


def test_clusters_are_speakers_articles_or_files(whole):
    dataset = audiomarathon(whole)
    assert {item.cluster for item in by_task(dataset, "ASR")} == {
        "librispeech-long/test-clean/1089"
    }
    assert {item.cluster for item in by_task(dataset, "SCR")} == {"race_audio/high12"}
    assert by_task(dataset, "SAR")[0].cluster == by_task(dataset, "SGR")[0].cluster
    assert by_task(dataset, "ER")[0].cluster == "VESUS/1"
    assert len({item.cluster for item in by_task(dataset, "MC")}) == 2


def test_incomplete_says_so_task_by_task(whole):
    report = audiomarathon(whole).report()
    assert not report["complete"]
    assert report["tasks"]["SAR"] == {"items": 1, "faults": 0, "excluded": 0, "expected": 959}
    assert report["tasks"]["ER"]["excluded"] == 1


def test_what_is_missing_is_named(root):
    (root / "SLUE/merged audio/ä 1.wav").unlink()
    (root / "librispeech-long/test-clean/1089/134686/1089-134686-2.flac").unlink()
    (root / "librispeech-long/test-clean/1089/134686/1089-134686.trans.txt").unlink()
    shutil.rmtree(root / "TAU")
    shutil.rmtree(root / "HAD")
    faults = {fault.id: fault.reason for fault in audiomarathon(root).faults}
    assert faults == {
        "SER/0000/merged audio/ä 1.wav": "no such audio file: SLUE/merged audio/ä 1.wav",
        "ASR/1089/134686/1089-134686-1": "no transcript",
        "ASR/1089/134686/1089-134686-10": "no transcript",
        "ASR/1089/134686/1089-134686-2": "no such audio file: "
        "librispeech-long/test-clean/1089/134686/1089-134686-2.flac",
        "ASC": "no acoustic_scene_task_meta.json in TAU/concatenated_resampled",
        "SD": "HAD/concatenated_audio holds none of its recordings",
    }


def test_records_that_cannot_be_asked_are_faults(root):
    record = {"path": "jazz.wav", **ASKED}
    records = [
        {**record, "answer_gt": "E"},
        {**record, "answer_gt": None},
        {**record, "question": ""},
        {**record, "choice_b": ""},
        {**record, "path": None},
        {**record, "answer_gt": "jazz"},
    ]
    annotate(root / "GTZAN/concatenated_audio/music_genre_classification_meta.json", records)
    dataset = audiomarathon(root, ["MC"])
    assert [item.reference for item in dataset.items] == ["C"]
    reasons = [fault.reason for fault in dataset.faults]
    for reason, expected in zip(
        reasons,
        ["answer 'E' is none", "answer None is none", "no question", "1 choices", "no such audio"],
        strict=True,
    ):
        assert reason.startswith(expected)


def test_undecodable_audio_is_an_error_when_it_is_read(root):
    path = root / "SLUE/merged audio/ä 1.wav"
    path.write_bytes(b"RIFF no audio")
    (item,) = audiomarathon(root, ["SER"]).items
    with pytest.raises(AudioError, match="not audio"):
        item.read()


@pytest.mark.parametrize("content", [{"a": 1}, "text", [1], {"tasks": {}}])
def test_annotations_of_another_shape(root, content):
    path = root / "SLUE/merged_audio_data.json"
    annotate(path, content)
    with pytest.raises(UsageError, match="no list of records"):
        audiomarathon(root, ["SER"])


def test_not_the_benchmark(tmp_path):
    with pytest.raises(UsageError, match=r"nothing of AudioMarathon can be asked \(10 faults"):
        audiomarathon(tmp_path)
    with pytest.raises(UsageError, match="no task 'ABC'; it has SER, SCR"):
        audiomarathon(tmp_path, ["ABC"])
