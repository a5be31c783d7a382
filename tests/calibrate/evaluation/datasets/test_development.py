"""The development part of a benchmark, to calibrate on."""

import json

import pytest

from calibrate.estimation.samples.sample import FOLDS, REPORT
from calibrate.evaluation.datasets import development
from calibrate.evaluation.datasets.audiomarathon import audiomarathon
from calibrate.evaluation.datasets.development import development_samples, is_development
from headrouter_core.errors import UsageError
from tests.calibrate.evaluation.datasets.audio_files import write_audio

PEOPLE = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two tasks of AudioMarathon, in one of which speakers are numbers."""
    folder = tmp_path_factory.mktemp("marathon")
    race, vesus = [], []
    four = {f"choice_{letter}": letter * 3 for letter in "abcd"}
    for number in range(PEOPLE):
        name = f"test/{number}.wav"
        write_audio(folder / "race_audio" / name, seed=number)
        race.append({"audio_path": name, "question": "Who?", "article_id": f"a{number}"})
        race[-1] |= {"options": ["Ann", "Ben", "Cid", "Dan"], "answer": "B"}
        write_audio(folder / "VESUS" / name, seed=1000 + number)
        vesus.append({"path": name, "question": "Which?", "person_id": number, **four})
        vesus[-1] |= {"answer_gt": "C", "emotion_label": "Sad"}
    (folder / "race_audio" / "race_benchmark.json").write_text(json.dumps(race))
    (folder / "VESUS" / "audio_emotion_dataset.json").write_text(json.dumps(vesus))
    return folder


def test_samples_are_asked_as_the_items_are(root, capsys):
    samples = development_samples(f"audiomarathon:{root}", 3, report=2)
    items = {item.id: item for item in audiomarathon(root).items}
    assert {sample.task for sample in samples} == {"SCR", "ER"}
    assert {sample.fold for sample in samples} == {REPORT, *range(FOLDS)}
    for sample in samples:
        item = items[sample.id]
        assert (sample.prompt, sample.system) == (item.prompt, item.system)
        assert sample.answer == {"SCR": "B", "ER": "C"}[sample.task]
        assert is_development("AudioMarathon", sample.cluster)
        assert sample.read().shape == sample.read(max_seconds=1.0).shape == (1_600,)
    again = development_samples(f"audiomarathon:{root}", 3, report=2)
    assert again == samples
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("items of AudioMarathon cannot be used") == 1  # tasks that are not there


def test_the_part_is_a_quarter_and_no_draw_leaves_it(root):
    items = audiomarathon(root).items
    part = {item.id for item in items if is_development("AudioMarathon", item.cluster)}
    assert 0.12 < len(part) / len(items) < 0.4
    drawn = {
        sample.id
        for seed in range(4)
        for sample in development_samples(f"audiomarathon:{root}", 100, seed=seed)
    }
    assert drawn == part


def test_what_is_no_benchmark_is_left_to_others(tmp_path):
    assert development_samples(str(tmp_path / "manifest.jsonl"), 3) is None
    assert development_samples("other:thing", 3) is None


def test_too_little_is_said(root, monkeypatch):
    development._development.cache_clear()
    monkeypatch.setattr(development, "ONE_OF", 10**6)
    with pytest.raises(UsageError, match=r"the development part of audiomarathon:.*no semantic"):
        development_samples(f"audiomarathon:{root}", 3)
    development._development.cache_clear()
    with pytest.raises(UsageError, match="'nowhere' is no folder"):
        development_samples("mmau-pro:nowhere", 3)
