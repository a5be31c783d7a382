"""What ``headrouter evaluate`` writes and prints."""

import hashlib
import json
import shutil
from dataclasses import replace

import jiwer
import numpy as np
import pytest
import soundfile
import soxr
import torch
from sklearn.metrics import f1_score

from calibrate.estimation.samples.known import heard as known_as
from calibrate.estimation.samples.sample import Sample
from calibrate.evaluation.scoring.normalisers import audiomarathon
from headrouter_core import scoring
from tests.calibrate.evaluation.command.asked import SYSTEMS, run


def test_every_file_is_there(whole, results):
    folder, done = whole
    assert results["schema"] == 2
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
            seconds, encoded, kept_tokens = item["heard"][reply["heard"]]
            assert (seconds, encoded, kept_tokens) == (1.0, item["audio_tokens"], k)
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


def test_what_the_profile_heard_is_left_out_whatever_its_file(
    arguments, questions, profile, tmp_path, undrawn
):
    """Another name, container and rate; the same question of another sound is asked."""
    sound, rate = soundfile.read(questions.parent / "cat.wav", dtype="float32")
    heard = [["0" * 16, "0" * 64]]
    sample = Sample("x", "y", "acoustic", "cat  or DOG?", "", "", 0, lambda **_: sound)
    known = replace(
        profile, calibration={**profile.calibration, "heard": heard + known_as([sample])}
    )
    known.save(tmp_path / "known.safetensors")
    rows = [json.loads(line) for line in questions.read_text().splitlines()[:2]]
    rows.append({**rows[0], "audio_filepath": "feline.flac", "speaker": 7})
    rows.append({**rows[0], "audio_filepath": "dog.wav", "speaker": None, "prompt": "A dog?"})
    soundfile.write(tmp_path / "feline.flac", soxr.resample(sound, rate, 22_050), 22_050)
    for name in ("cat.wav", "dog.wav"):
        shutil.copy(questions.parent / name, tmp_path)
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [
        *arguments, "--data", tmp_path / "all.jsonl", "--profile", tmp_path / "known.safetensors",
        "--methods", "frame,headrouter", "--ratios", "0.9", "--timed", "0", "--examples", "0",
    ]  # fmt: skip
    options = [str(option) for option in options]
    done = run(options, tmp_path / "without")
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "without" / "results.json").read_text())
    assert [item["id"].partition("#")[0] for item in found["items"]] == ["dog.wav", "dog.wav"]
    left_out = [fault["id"].partition("#")[0] for fault in found["dataset"]["excluded"]]
    assert left_out == ["cat.wav", "feline.flac"]
    assert "Left out: 2 items: the profile was calibrated on it" in " ".join(done.stdout.split())
    again = run(options, tmp_path / "without")  # nothing is tried again
    assert again.stdout == done.stdout

    kept = run(options, tmp_path / "with", "--keep-calibration-items")
    found = json.loads((tmp_path / "with" / "results.json").read_text())
    assert [item.get("seen", False) for item in found["items"]] == [True, False, True, False]
    assert found["tasks"]["event"]["seen"] == 2
    assert "calibrated on 2 of the items" in " ".join(kept.stdout.split())


def test_timing_is_of_real_runs(whole):
    timing = json.loads((whole[0] / "timing.json").read_text())
    assert [tuple(system) for system in timing["systems"]] == SYSTEMS
    (item,) = timing["items"]
    assert len(item["systems"]) == len(SYSTEMS)
    for row in item["systems"]:
        taken = dict(zip(timing["columns"], row, strict=True))
        assert taken["prepare_seconds"] > 0
        assert taken["decode_seconds_per_token"] > 0
        assert 0 < taken["encoder_seconds"] < taken["prefill_seconds"]
    assert all(peak is None for *_, peak in item["systems"])
    assert timing["peak_bytes"].startswith("not measured")


def test_json_is_the_summary(arguments, whole, results, undrawn):
    done = run(arguments, whole[0], "--json")
    found = json.loads(done.stdout)  # nothing but JSON
    timing = found.pop("timing")
    assert timing["items"]
    assert found.pop("warnings") == []  # of this call
    assert found == {
        name: value
        for name, value in results.items()
        if name not in ("items", "columns", "vocabularies")
    }
