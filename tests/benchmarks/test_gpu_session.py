"""``make gpu`` without a GPU: every step runs, and goes on where it stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from benchmarks.gpu import estimate, session, taking
from benchmarks.gpu.__main__ import app
from benchmarks.gpu.plan import Measurement, plan
from headrouter_core import SELECTORS

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
KINDS = "prefill,selectors,calibration,decode,end_to_end"
TINY = ["--device", "cpu", "--shapes", "tiny", "--seconds", "1,2", "--batches", "1,2"]


def run(folder: Path, kinds: str = KINDS, *more: str) -> Result:
    return CliRunner().invoke(app, [*TINY, "--kinds", kinds, "-o", str(folder), *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu") / "results"
    done = run(folder)
    assert done.exit_code == 0, done.output
    assert "10 measured, 0 taken from the journal, 0 skipped, 0 failed, 0 left" in done.stderr
    return folder


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text("utf-8"))
    return found


def test_every_kind_is_measured_and_shown(folder: Path) -> None:
    found = document(folder)
    assert found["complete"]
    assert found["environment"]["torch"] == torch.__version__
    by_name = {one["name"]: one["result"] for one in found["measurements"]}
    assert [name.partition(" of ")[0] for name in by_name] == [
        *("prefill", "prefill", "selectors", "selectors", "calibration", "decode"),
        *("end_to_end", "prefill", "prefill", "decode"),
    ]
    assert set(by_name["selectors of tiny at 2 s"]["selectors"]) == set(SELECTORS)
    assert set(by_name["prefill of tiny at 2 s x 2"]["ratios"]) == {"0.3", "0.6", "0.9"}
    page = (folder / "gpu.md").read_text("utf-8")
    assert page.startswith("# Measured without a GPU")
    assert f"torch {torch.__version__}" in page
    for text in ("| tiny | 2 s | 2 | 0.9 |", "| adaptive_segments |", "## Decoding", "encoder, ms"):
        assert text in page
    assert str(folder.parent) not in page + json.dumps(found)


def test_goals_stand_beside_the_worst_figures(folder: Path) -> None:
    found = document(folder)
    ideal, selecting, peak = found["goals"]
    assert [goal["at_most"] for goal in found["goals"]] == [1.05, 0.005, 1.0]
    ratios = [
        entry
        for one in found["measurements"]
        if one["settings"]["kind"] == "prefill"
        for entry in one["result"]["ratios"].values()
    ]
    assert ideal["of"] == selecting["of"] == len(ratios) == 12
    over = [1 + entry["over_ideal"]["median"] for entry in ratios]
    assert ideal["worst"] == max(over)
    assert ideal["missed"] == sum(value > 1.05 for value in over)
    assert ideal["met"] == (max(over) <= 1.05)
    assert peak["of"] == 12 + 2 * len(SELECTORS)
    assert peak["met"]
    page = (folder / "gpu.md").read_text("utf-8")
    assert f"| {ideal['worst']:.4f} | {ideal['where']} | {ideal['missed']} of 12 |" in page


def test_what_is_measured_is_not_measured_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "journal.jsonl").read_bytes()
    monkeypatch.setattr(taking.Taker, "take", None)
    done = run(folder)
    assert done.exit_code == 0, done.output
    assert "0 measured, 10 taken from the journal, 0 skipped, 0 failed, 0 left" in done.stderr
    assert (folder / "journal.jsonl").read_bytes() == before
    assert len(document(folder)["measurements"]) == 10


@pytest.mark.parametrize("changed", ["device", "torch", "code", "rounds"])
def test_other_settings_machines_and_code_are_measured_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    (tmp_path / "journal.jsonl").write_bytes((folder / "journal.jsonl").read_bytes())
    if changed == "code":
        monkeypatch.setattr(session.identity, "code", lambda folders: "other")
    elif changed == "rounds":
        monkeypatch.setattr("benchmarks.gpu.command.plan", lambda *_: [one_of(rounds=7)])
    else:
        machine = {**session.environment(CPU), changed: "other"}
        monkeypatch.setattr(session, "environment", lambda device: machine)
    monkeypatch.setattr(taking.Taker, "take", lambda *_: {"ratios": {}})
    done = run(tmp_path, "prefill")
    assert "0 taken from the journal" in done.stderr, done.output


def one_of(**settings: Any) -> Measurement:
    return Measurement(**{"kind": "prefill", "shape": "tiny", "seconds": 1, **settings})


def test_no_time_leaves_everything_and_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, KINDS, "--minutes", "0")
    assert done.exit_code == 0, done.output
    assert "0 measured, 0 taken from the journal, 0 skipped, 0 failed, 10 left" in done.stderr
    assert "the same command goes on with what is left" in done.stderr
    assert not document(tmp_path)["complete"]
    page = (tmp_path / "gpu.md").read_text("utf-8")
    assert "## Left for the next run\n\n- prefill of tiny at 1 s\n" in page
    assert "not measured" in page


def test_time_runs_out_between_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes twice its estimate, so that pace counts; a short one further on still begins."""
    now, guesses = [0.0], {1.0: 20.0, 2.0: 20.0, 3.0: 90.0, 4.0: 5.0}
    monkeypatch.setattr(session.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(session.estimate, "seconds", lambda one, machine: guesses[one.seconds])
    monkeypatch.setattr(session.estimate, "DRAWING_SECONDS", 0)

    def take(self: Any, one: Measurement, timeout: float) -> dict[str, Any]:
        now[0] += 2 * guesses[one.seconds]
        return {"ratios": {}}

    monkeypatch.setattr(taking.Taker, "take", take)
    measurements = [one_of(seconds=seconds) for seconds in guesses]
    progress = session.measure(measurements, CPU, tmp_path / "j", 100 / 60, lambda _: None)
    assert [line["name"] for line in progress.lines] == [
        *("prefill of tiny at 1 s", "prefill of tiny at 2 s", "prefill of tiny at 4 s")
    ]
    assert progress.left == ["prefill of tiny at 3 s"]


def test_what_does_not_fit_is_skipped_by_name(tmp_path: Path) -> None:
    shapes = ("qwen2.5-omni-7b",)
    wanted = [m for m in plan(shapes) if m.kind == "prefill" and m.seconds == 600]
    small = estimate.Machine(flops=1, bytes_per_second=1, memory=24 * 2**30)
    progress = session.measure(wanted, CPU, tmp_path / "j", 1, lambda _: None, small)
    assert progress.left == ["prefill of qwen2.5-omni-7b at 600 s"]
    assert progress.skipped == {
        "prefill of qwen2.5-omni-7b at 600 s x 8": "needs 39.1 GiB, and the device has 24.0 GiB"
    }
    late = [one_of(kind="end_to_end", seconds=600)]
    progress = session.measure(late, CPU, tmp_path / "j", 1, lambda _: None)
    assert list(progress.skipped.values()) == ["the front end takes at most 300 s of audio"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory, against the estimate"),
        (ValueError("a | b"), "unexpected ValueError: a | b; this is a fault in headrouter"),
    ],
)
def test_a_measurement_that_fails_is_named_and_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def take(self: Any, one: Measurement, timeout: float) -> dict[str, Any]:
        if one.seconds == 1:
            raise error
        return {"ratios": {}}

    monkeypatch.setattr(taking.Taker, "take", take)
    done = run(tmp_path, "prefill")
    assert done.exit_code == 1
    assert "2 measured, 0 taken from the journal, 0 skipped, 2 failed, 0 left" in done.stderr
    failed = document(tmp_path)["failed"]
    assert list(failed) == ["prefill of tiny at 1 s", "prefill of tiny at 1 s x 2"]
    assert all(value.startswith(reason) for value in failed.values())
    assert "## Failed" in (tmp_path / "gpu.md").read_text("utf-8")
    monkeypatch.setattr(taking.Taker, "take", lambda *_: {"ratios": {}})
    assert "2 measured, 2 taken from the journal" in run(tmp_path, "prefill").stderr


def test_tests_that_fail_are_shown_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"passed": 3, "failed": {"test_x::test_y[1]": "assert 1 == 2"}, "skipped": {}}
    monkeypatch.setattr(taking, "run_tests", lambda files, timeout: found)
    done = run(tmp_path, "tests")
    assert done.exit_code == 1
    page = (tmp_path / "gpu.md").read_text("utf-8")
    assert "| failed | 1 | test_x::test_y | assert 1 == 2 |" in page
    assert "- tests: 1 failed" in page
    monkeypatch.setattr(taking, "run_tests", lambda *_: {**found, "failed": {}})
    assert "1 measured, 0 taken" in run(tmp_path, "tests").stderr
    assert "0 measured, 1 taken" in run(tmp_path, "tests").stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shapes", "huge"], "--shapes has no 'huge'; known are qwen2.5-omni-3b"),
        (["--kinds", "speed"], "--kinds has no 'speed'; known are tests, prefill"),
        (["--seconds", "x"], "--seconds x holds what is no number"),
        (["--seconds", "nan"], "--seconds nan is outside [1, 3600]"),
        (["--batches", "0"], "--batches 0 is outside [1, 64]"),
        (["--device", "gpu"], "is no device"),
    ],
)
def test_bad_options(tmp_path: Path, options: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["--device", "cpu", "-o", str(tmp_path), *options])
    assert done.exit_code == 2
    assert message in done.stderr


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from benchmarks.gpu.__main__ import app;"
        "done = CliRunner().invoke(app, ['--help']); assert done.exit_code == 0, done.output;"
        "assert '--minutes' in done.stdout; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
