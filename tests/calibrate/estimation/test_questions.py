"""Calibrating without answers: a folder, questions, and the model's own answers as references."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.estimation.bench import Bench
from calibrate.estimation.samples import questions
from calibrate.estimation.samples.questions import Question, answered, read_questions
from calibrate.estimation.samples.questions import question_samples as ask
from calibrate.estimation.samples.usable import check_samples
from calibrate.inspection import contents
from calibrate.inspection.worth import worth
from calibrate.running.journal import Journal
from calibrate.running.work import Work
from headrouter_core import HeadRouter, UsageError, prune
from headrouter_core.profile.profile import Profile

RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine recordings of two seconds, and a hidden file."""
    path = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number in range(9):
        soundfile.write(path / f"{number}.wav", rng.uniform(-0.1, 0.1, 2 * RATE), RATE)
    (path / ".hidden").write_text("no recording")
    return path


def written(tmp_path, text):
    file = tmp_path / "questions.txt"
    file.write_text(text)
    return file


def test_one_question_a_line_or_json(tmp_path):
    file = written(tmp_path, "\ufeffWhat is said?\n\n  Who speaks? \n")
    assert read_questions(file) == [
        Question("What is said?", "What is said?", "pooled"),
        Question("Who speaks?", "Who speaks?", "pooled"),
    ]
    lines = [
        {"prompt": "Which word?", "task": "words", "group": "semantic"},
        {"question": "Which sound?", "task": "sounds", "group": "acoustic"},
    ]
    file = written(tmp_path, "\n".join(map(json.dumps, lines)))
    assert read_questions(file) == [
        Question("Which word?", "words", "semantic"),
        Question("Which sound?", "sounds", "acoustic"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no question"),
        ("Who?\nWho?", "stands twice"),
        ('{"prompt": ', "questions.txt:1: not JSON"),
        ('{"task": "t"}', "needs a text in 'prompt'"),
        ('{"prompt": "Who?", "question": "Who?"}', "needs a text in 'prompt' or in 'question'"),
        ('{"prompt": 3}', "needs a text in 'prompt', got 3"),
        ('{"prompt": "Who?", "answer": "me"}', "'answer' is no key"),
        ('{"prompt": "Who?", "group": "loud"}', "group is 'loud'"),
        ('{"prompt": "Who?", "group": "semantic"}\nWhat?', "'What\\?' names no group"),
        ('{"prompt": "Who?", "group": "semantic"}', "no acoustic task"),
        (
            '{"prompt": "a", "task": "t", "group": "semantic"}\n'
            '{"prompt": "b", "task": "t", "group": "acoustic"}',
            "in two groups",
        ),
    ],
)
def test_what_is_no_question(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_questions(written(tmp_path, text))


def test_every_recording_is_asked_every_question(folder, tmp_path):
    file = written(tmp_path, "What is said?\nWho speaks?")
    samples = ask(folder, file, 3, report=3)
    check_samples(samples)
    assert {sample.task for sample in samples} == {"What is said?", "Who speaks?"}
    assert {sample.cluster for sample in samples} <= {f"{number}.wav" for number in range(9)}
    held = {sample.cluster for sample in samples if sample.held_out}
    assert held
    assert not held & {sample.cluster for sample in samples if not sample.held_out}
    assert len({sample.id for sample in samples}) == len(samples)
    inside = folder / "questions.txt"
    inside.write_text("Who speaks?")
    assert all(sample.cluster != "questions.txt" for sample in ask(folder, inside, 3))
    inside.unlink()


@pytest.mark.parametrize("path", ["no-such-folder", "questions.txt"])
def test_no_folder(tmp_path, path):
    file = written(tmp_path, "Who?")
    with pytest.raises(UsageError, match="is no folder"):
        ask(tmp_path / path, file, 3)


def test_the_reference_is_what_the_model_says_unpruned(loaded, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(questions, "LONGEST_ANSWER", 9)
    sample, *_ = ask(folder, written(tmp_path, "What is said?"), 3)
    ticks = []
    (found,) = answered(loaded, [sample], Work(Journal()), lambda: ticks.append(1))
    assert ticks == [1]
    assert (found.prompt, found.fold, found.cluster) == (sample.prompt, sample.fold, sample.cluster)
    inputs = loaded.place(loaded.frontend.inputs([sample.read()], sample.prompt))
    said = loaded.model.generate(**inputs, max_new_tokens=9, do_sample=False)
    new = said[0, inputs["input_ids"].shape[1] :]
    assert found.answer == loaded.frontend.decode(new)


def test_without_groups_one_vector_and_no_word_on_routing(
    loaded, thinker, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(questions, "LONGEST_ANSWER", 4)  # a random model never ends
    file = written(tmp_path, "What is said?\nWho speaks?")
    output = tmp_path / "p.safetensors"
    call = ["calibrate", "--model", thinker, "--data", folder, "--questions", file]
    call += ["--per-category", 3, "--ratios", "0.5,0.8", "-o", output]
    done = CliRunner().invoke(app, [str(part) for part in call])
    assert done.exit_code == 0, done.stderr
    assert "Routing could not be tested: the questions name no groups." in done.stdout
    profile = Profile.load(output)
    assert profile.recipe.route == "pooled"
    assert set(profile.calibration["groups"].values()) == {"pooled"}
    assert "routing" not in profile.results
    data = contents.to_json(profile)
    assert data["weights"]["semantic"] == data["weights"]["acoustic"] == data["weights"]["pooled"]
    assert len("\n".join(worth(profile)).splitlines()) <= 9
    for part in (["--all"], ["--page", tmp_path / "p.html"], ["--plot", tmp_path / "p.png"]):
        shown = CliRunner().invoke(app, ["inspect", str(output), *map(str, part)])
        assert shown.exit_code == 0, shown.output
    # and it prunes: every input takes the one vector
    sample, *_ = ask(folder, file, 3)
    inputs = loaded.place(loaded.frontend.inputs([sample.read()], sample.prompt))
    with prune(loaded.model, HeadRouter(profile), 0.5) as trace:
        loaded.model(**inputs)
    assert trace[0].mixing.tolist() == [0, 0, 0, 1]
    paper = CliRunner().invoke(app, [*map(str, call), "--recipe", "paper", "--force"])
    assert paper.exit_code == 2
    assert "names none" in paper.stderr


def test_questions_need_recordings(tmp_path):
    file = written(tmp_path, "Who?")
    done = CliRunner().invoke(app, ["calibrate", "--questions", str(file)])
    assert done.exit_code == 2
    assert "name their folder with --data" in done.stderr


def test_divergence_is_bounded_and_0_without_pruning(loaded, folder, tmp_path):
    sample, *_ = ask(folder, written(tmp_path, "What is said?"), 3)
    bench = Bench(loaded, replace(sample, answer="one"), 2)
    kept = np.arange(0, bench.audio_tokens, 7)
    assert bench.outcomes([torch.as_tensor(kept)])[0].divergence is None
    assert bench.unpruned().divergence == pytest.approx(0, abs=1e-6)
    assert 0 < bench.outcomes([torch.as_tensor(kept)])[0].divergence <= np.log(2)
