"""``headrouter evaluate`` from its options to its files, on a few short sounds."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jiwer
import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from calibrate import asking
from calibrate.cli import app
from calibrate.evaluation.datasets import manifest
from calibrate.evaluation.items import KINDS
from calibrate.evaluation.normalisers import audiomarathon
from headrouter_core import Frame, scoring
from headrouter_core.selectors import Selection
from tests.calibrate.evaluation.datasets.audio_files import write_audio

ROOT = Path(__file__).parents[3]
METHODS, RATIOS = "headrouter,frame,affinity_merge", "0.6,0.9"
SYSTEMS = [("vanilla", 0.0)] + [
    (method, ratio) for ratio in (0.6, 0.9) for method in METHODS.split(",")
]


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """A manifest of five questions about four sounds, one of them for a judge."""
    folder = tmp_path_factory.mktemp("questions")
    common = {"event": "acoustic", "digits": "semantic", "story": "semantic"}
    lines = [
        ("event", "cat.wav", "Cat or dog?", "cat", {"speaker": "a"}),
        ("event", "dog.wav", "Cat or dog?", "dog", {"speaker": "b"}),
        ("digits", "cat.wav", "Which digits?", "one two", {"kind": "transcript", "speaker": "a"}),
        ("digits", "dog.wav", "Which digits?", "three", {"kind": "transcript", "speaker": "b"}),
        ("story", "dog.wav", "What happens?", "much", {"kind": "judged", "speaker": "b"}),
    ]
    rows = [
        {"audio_filepath": name, "task": task, "group": common[task], "prompt": prompt}
        | {"answer": answer, **more}
        for task, name, prompt, answer, more in lines
    ]
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for seed, name in enumerate(("cat.wav", "dog.wav")):
        write_audio(folder / name, 1.0, seed)
    return folder / "all.jsonl"


@pytest.fixture(scope="module")
def saved(profile, tmp_path_factory):
    path = tmp_path_factory.mktemp("profiles") / "drawn.safetensors"
    profile.save(path)
    return path


@pytest.fixture(scope="module")
def arguments(thinker, saved, questions):
    """What all evaluations here have in common."""
    options = {
        "--model": thinker,
        "--profile": saved,
        "--data": questions,
        "--methods": METHODS,
        "--ratios": RATIOS,
        "--device": "cpu",
        "--timed": 1,
        "--examples": 2,
    }
    return [str(part) for option in options.items() for part in option]


def shortened(patch):
    """Ask for few tokens, and time once."""
    patch.setattr(asking, "RUNS", 1)
    patch.setattr(manifest, "MAX_NEW_TOKENS", dict.fromkeys(KINDS, 4))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    shortened(monkeypatch)


def run(arguments, output, *more):
    return CliRunner().invoke(
        app, ["evaluate", *arguments, "--output", str(output), *map(str, more)]
    )


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    """An evaluation that nothing interrupted: its folder and what was printed."""
    folder = tmp_path_factory.mktemp("whole") / "results"
    with pytest.MonkeyPatch.context() as patch:
        shortened(patch)
        done = run(arguments, folder)
    assert done.exit_code == 0, done.stderr
    return folder, done


@pytest.fixture(scope="module")
def results(whole):
    return json.loads((whole[0] / "results.json").read_text("utf-8"))


def without_seconds(folder):
    """``results.json`` but for what differs from run to run."""
    content = json.loads((folder / "results.json").read_text("utf-8"))
    for item in content["items"]:
        del item["seconds"]
    return content


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the pictures out: they are drawn in ``whole``."""
    monkeypatch.setattr("calibrate.evaluation.plots.write_all", lambda *_: None)


def test_every_file_is_there(whole, results):
    folder, done = whole
    assert results["schema"] == 1
    assert len(results["items"]) == 5
    assert {path.name for path in (folder / "for-judge").iterdir()} == {
        "vanilla.jsonl",
        *(f"{method}-{ratio:g}.jsonl" for method, ratio in SYSTEMS[1:]),
    }
    assert {path.stem for path in (folder / "plots").iterdir()} == {
        "score-by-ratio",
        "score-by-prefill",
        "routing",
        "selectivity",
        "samples",
        "kept-0",
        "kept-1",
    }
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "\x1b" not in done.stdout
    assert "headrouter report" in done.stderr


def test_records_say_who_kept_what(loaded, profile, results):
    columns = results["columns"]["replies"]
    for item in results["items"]:
        assert item["audio_tokens"] == loaded.frontend.audio_tokens(16_000)
        assert len(item["replies"]) == len(SYSTEMS)
        for (method, ratio), line in zip(SYSTEMS, item["replies"], strict=True):
            reply = dict(zip(columns, line, strict=True))
            k = scoring.keep_count(item["audio_tokens"], ratio)
            assert item["kept"][f"{ratio:g}"] == k
            if method == "frame":
                kept = scoring.frame_indices(item["audio_tokens"], k).int().numpy().tobytes()
                assert reply["indices"] == hashlib.sha256(kept).hexdigest()[:8]
            assert (reply["routing"] is None) == (method != "headrouter")
        (spread, mixing), *_ = item["routing"]
        wanted = torch.tensor(item["selectivity"]).std(correction=0)
        assert spread == pytest.approx(float(wanted), abs=1e-4)
        assert sum(mixing) == pytest.approx(1, abs=1e-3)


def test_scores_are_those_of_the_records(results):
    """Computed anew by scikit-learn and jiwer, from nothing but the records."""
    said, columns = results["columns"]["said"], results["columns"]["replies"]
    for row in results["scores"]:
        place = SYSTEMS.index((row["method"], row["ratio"]))
        mine = [item for item in results["items"] if item["task"] == row["task"]]
        replies = [dict(zip(columns, item["replies"][place], strict=True)) for item in mine]
        answers = [
            dict(zip(said, item["said"][reply["said"]], strict=True))
            for item, reply in zip(mine, replies, strict=True)
        ]
        wanted = [item["reference"] for item in mine]
        assert row["divergence"] == pytest.approx(np.mean([r["divergence"] for r in replies]))
        assert row["complete"] == np.mean([answer["complete"] for answer in answers])
        if row["task"] == "story":
            assert "score" not in row
            assert all(reply["nll"] is None for reply in replies)
            continue
        assert row["nll"] == pytest.approx(np.mean([reply["nll"] for reply in replies]), abs=1e-6)
        assert row["parse_rate"] == np.mean([a["parsed"] is not None for a in answers])
        if row["task"] == "event":
            parsed = [answer["parsed"] or "nothing" for answer in answers]
            f1 = f1_score(wanted, parsed, labels=["cat", "dog"], average="macro", zero_division=0)
            assert row["score"]["value"] == row["macro_f1"] == pytest.approx(f1, abs=1e-6)
            vocabulary = results["vocabularies"][mine[0]["labels"]]
            chosen = [vocabulary[reply["likeliest"]] for reply in replies]
            f1 = f1_score(wanted, chosen, labels=["cat", "dog"], average="macro", zero_division=0)
            assert row["likeliest_macro_f1"] == pytest.approx(f1, abs=1e-6)
        else:
            wer = jiwer.wer(wanted, [audiomarathon(answer["answer"]) for answer in answers])
            assert row["score"]["value"] == pytest.approx(1 - wer, abs=1e-6)


def test_judged_answers_are_for_the_judge(whole, results):
    (story,) = [item for item in results["items"] if item["task"] == "story"]
    for place, (method, ratio) in enumerate(SYSTEMS):
        name = method if method == "vanilla" else f"{method}-{ratio:g}"
        (line,) = (whole[0] / "for-judge" / f"{name}.jsonl").read_text("utf-8").splitlines()
        exported = json.loads(line)
        assert exported["model_output"] == story["said"][story["replies"][place][0]][0]
        assert (exported["id"], exported["answer"]) == (story["id"], "much")
        assert exported["question"] == "What happens?"


def test_timing_is_of_real_runs(whole):
    timing = json.loads((whole[0] / "timing.json").read_text())
    assert [tuple(system) for system in timing["systems"]] == SYSTEMS
    (item,) = timing["items"]
    assert len(item["systems"]) == len(SYSTEMS)
    assert all(prefill > 0 and decode > 0 for prefill, decode, _ in item["systems"])
    assert all(peak is None for *_, peak in item["systems"])
    assert timing["peak_bytes"].startswith("not measured")


def test_a_second_run_asks_nothing(arguments, whole, monkeypatch, undrawn):
    folder, first = whole
    before = {path: path.read_bytes() for path in folder.rglob("*.json*")}
    for name in ("run.Trial", "timing.measure", "examples.collect"):
        monkeypatch.setattr(f"calibrate.evaluation.{name}", None)
    again = run(arguments, folder)
    assert again.exit_code == 0, again.stderr
    assert again.stdout == first.stdout
    assert "where 5 items are done" in again.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*.json*")} == before


KILLED = """
import os, signal
from calibrate.evaluation import journal
from calibrate.evaluation.datasets import manifest
from calibrate.evaluation.items import KINDS

written = 0

def cut(path, descriptor, content):
    global written
    written += 1
    if written == 4:  # the header, two items, and half of the third
        os.write(descriptor, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    append(path, descriptor, content)

append, journal._append = journal._append, cut
manifest.MAX_NEW_TOKENS = dict.fromkeys(KINDS, 4)
from calibrate.cli import main
main()
"""


def test_killed_while_it_writes_it_goes_on(arguments, whole, tmp_path, undrawn):
    folder = tmp_path / "results"
    command = [sys.executable, "-c", KILLED, "evaluate", *arguments, "--output", str(folder)]
    killed = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=600)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    journal = (folder / "evaluation.journal.jsonl").read_bytes()
    assert journal.count(b"\n") == 3
    assert not journal.endswith(b"\n")
    assert not (folder / "results.json").exists()
    done = run(arguments, folder)
    assert done.exit_code == 0, done.stderr
    assert "where 2 items are done" in done.stderr
    assert without_seconds(folder) == without_seconds(whole[0])


def test_shards_are_put_together(arguments, whole, tmp_path, monkeypatch, undrawn):
    folder = tmp_path / "results"
    for shard in ("1/2", "2/2"):
        done = run(arguments, folder, "--shard", shard)
        assert done.exit_code == 0, done.stderr
        assert done.stdout == ""
        assert not (folder / "results.json").exists()
    asked = [
        [json.loads(line)["id"] for line in path.read_text().splitlines()[1:]]
        for path in sorted(folder.glob("shard-*"))
    ]
    assert [len(part) for part in asked] == [3, 2]
    assert not set(asked[0]) & set(asked[1])
    monkeypatch.setattr("calibrate.evaluation.run.Trial", None)  # nothing is asked any more
    rest = ("--timed", 0, "--examples", 0)
    done = run(arguments, folder, *rest)
    assert done.exit_code == 0, done.stderr
    assert without_seconds(folder) == without_seconds(whole[0])


def test_shards_of_another_evaluation_are_not_taken_in(arguments, tmp_path, undrawn):
    folder = tmp_path / "results"
    frame = ("--methods", "frame", "--timed", 0, "--examples", 0)
    assert run(arguments, folder, *frame, "--seed", 1, "--shard", "1/5").exit_code == 0
    done = run(arguments, folder, *frame)
    assert done.exit_code == 2
    assert "shard-1-of-5.journal.jsonl was begun with another seed" in done.stderr
    done = run(arguments, folder, *frame, "--force")
    assert done.exit_code == 0, done.stderr
    assert json.loads((folder / "results.json").read_text())["evaluation"]["seed"] == 0
    assert not list(folder.glob("shard-*"))


@pytest.mark.parametrize("stage", ["records.record", "timing._timed", "examples._example"])
def test_interrupted_in_any_stage_it_goes_on(
    arguments, whole, tmp_path, monkeypatch, undrawn, stage
):
    folder = tmp_path / "results"
    if stage != "records.record":  # what went before is done
        folder.mkdir()
        for name in ("evaluation.journal.jsonl", "timing.json"):
            shutil.copy(whole[0] / name, folder)
    if stage == "timing._timed":
        (folder / "timing.json").unlink()
    place = stage.replace("records", "run")
    module, _, name = place.partition(".")
    real = getattr(sys.modules[f"calibrate.evaluation.{module}"], name)
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1 + (stage == "records.record"):
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(f"calibrate.evaluation.{place}", interrupted)
        done = run(arguments, folder)
    assert done.exit_code == 130
    assert "the same command goes on from there" in done.stderr
    done = run(arguments, folder)
    assert done.exit_code == 0, done.stderr
    assert without_seconds(folder) == without_seconds(whole[0])
    assert len(json.loads((folder / "timing.json").read_text())["items"]) == 1
    assert len(json.loads((folder / "examples.json").read_text())["items"]) == 2


def test_another_evaluation_does_not_mix(arguments, whole, tmp_path, undrawn):
    folder = tmp_path / "results"
    shutil.copytree(whole[0], folder)
    journal = folder / "evaluation.journal.jsonl"
    before = journal.read_bytes()
    done = run(arguments, folder, "--seed", 1)
    assert done.exit_code == 2
    assert "begun with another seed (seed: 0, now 1)" in done.stderr
    assert journal.read_bytes() == before
    done = run(arguments, folder, "--seed", 1, "--limit", 2, "--methods", "frame", "--force")
    assert done.exit_code == 0, done.stderr
    content = json.loads((folder / "results.json").read_text())
    assert content["evaluation"]["seed"] == 1
    assert len(content["items"]) == 2
    # tasks take turns, and what was left out is said
    assert {item["task"] for item in content["items"]} == {"event", "digits"}
    assert content["dataset"]["complete"] is False
    assert "INCOMPLETE" in done.stdout
    # what belongs to the other evaluation was not taken for this one's
    timing = json.loads((folder / "timing.json").read_text())
    assert timing["systems"] == [["vanilla", 0.0], ["frame", 0.6], ["frame", 0.9]]


def test_results_without_their_journal_are_not_replaced(arguments, whole, tmp_path):
    shutil.copy(whole[0] / "results.json", tmp_path)
    done = run(arguments, tmp_path)
    assert done.exit_code == 2
    assert "there is no journal to go on with" in done.stderr


def test_faults_are_counted_named_and_tried_again(arguments, questions, tmp_path, undrawn):
    data = tmp_path / "data"
    shutil.copytree(questions.parent, data)
    (data / "dog.wav").write_bytes(b"no sound")
    (data / "cat.wav").rename(data / "moved.wav")
    arguments = [str(data / "all.jsonl") if a == str(questions) else a for a in arguments]
    done = run(arguments, tmp_path / "results", "--methods", "frame")
    assert done.exit_code == 1
    assert "nothing of all.jsonl could be asked; the first: cat.wav" in done.stderr
    shutil.copy(questions.parent / "cat.wav", data)
    done = run(arguments, tmp_path / "more", "--methods", "frame", "--json")
    assert done.exit_code == 4
    found = json.loads(done.stdout)
    assert found["dataset"]["complete"] is False
    assert found["dataset"]["tasks"]["event"]["faults"] == 1
    reasons = [fault["reason"] for fault in found["dataset"]["faults"]]
    assert len(reasons) == 3
    assert all(reason.startswith("dog.wav: not audio") for reason in reasons)  # and not where
    assert "3 items of all.jsonl could not be asked" in done.stderr
    shutil.copy(questions.parent / "dog.wav", data)
    done = run(arguments, tmp_path / "more", "--methods", "frame")
    assert done.exit_code == 0, done.stderr
    assert len(json.loads((tmp_path / "more" / "results.json").read_text())["items"]) == 5


def test_json_is_the_summary(arguments, whole, results, undrawn):
    done = run(arguments, whole[0], "--json")
    found = json.loads(done.stdout)  # nothing but JSON
    timing = found.pop("timing")
    assert timing["items"]
    assert found == {
        name: value
        for name, value in results.items()
        if name not in ("items", "columns", "vocabularies")
    }


def test_methods_without_a_profile_need_none(thinker, questions, tmp_path, monkeypatch, undrawn):
    monkeypatch.chdir(tmp_path)
    options = ["--model", thinker, "--data", questions, "--device", "cpu", "--limit", "1"]
    options = [*map(str, options), "--timed", "0", "--examples", "0", "--ratios", "0.9"]
    done = run(options, tmp_path / "a")
    assert done.exit_code == 3
    assert "headrouter calibrate" in done.stderr
    assert "--methods frame,random,fastv" in done.stderr
    done = run(options, tmp_path / "a", "--methods", "frame,fastv")
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "a" / "results.json").read_text())
    assert found["evaluation"]["profile"] is None
    assert found["items"][0]["selectivity"]
    assert not (tmp_path / "a" / "timing.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ratios", "0"], "prunes nothing"),
        (["--ratios", "0.6,1"], "outside"),
        (["--methods", "frames"], "no method 'frames'; known are all, headrouter"),
        (["--data", "librispeech:here"], "known are scenes, audiomarathon:DIR, mmau-pro:DIR"),
        (["--data", "mmau-pro:nowhere"], "'nowhere' is no folder"),
        (["--data", "x.jsonl", "--seconds", "10"], "--seconds is for --data scenes"),
        (["--seconds", "70"], "4 to 60 s long"),
        (["--split", "exam"], "known are train, calibration, test"),
        (["--layer", "0"], "--layer"),
        (["--shard", "3/2"], "--shard 3/2 is not K/N"),
        (["--shard", "0/2"], "--shard 0/2 is not K/N"),
        (["--shard", "half"], "--shard half is not K/N"),
    ],
)
def test_what_cannot_be_is_said_at_once(tmp_path, options, message):
    output = tmp_path / "results"
    done = CliRunner().invoke(app, ["evaluate", "--output", str(output), *options])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert not output.exists()


def test_a_method_that_breaks_its_contract_stops_everything(
    arguments, tmp_path, monkeypatch, undrawn
):
    def broken(self, view, k):
        return Selection(torch.arange(k + 1))

    monkeypatch.setattr(Frame, "__call__", broken)
    done = run(arguments, tmp_path / "results", "--methods", "frame")
    assert done.exit_code == 1
    assert "selector frame returned" in done.stderr


def test_logits_that_are_no_numbers_stop_everything(arguments, tmp_path, monkeypatch, undrawn):
    nan = torch.full((1,), torch.nan)
    monkeypatch.setattr("calibrate.evaluation.records.divergence", lambda *_: nan)
    done = run(arguments, tmp_path / "results", "--methods", "frame")
    assert done.exit_code == 1
    assert "logits with vanilla at ratio 0 are not finite" in done.stderr
