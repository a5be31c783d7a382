"""What manifests may say, and that whatever else they say is refused by file and line."""

import json
import os

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.estimation.calibration import calibrate
from calibrate.estimation.samples.lengths import check_answers
from calibrate.estimation.samples.manifests import read_manifest
from calibrate.estimation.samples.sample import manifest_samples
from calibrate.evaluation.datasets.manifest import manifest
from calibrate.evaluation.datasets.sources import read_data
from headrouter_core.errors import UsageError

RATE = 16_000
ROW = {
    "audio_filepath": "a.wav",
    "task": "words",
    "group": "semantic",
    "prompt": "What?",
    "answer": "yes",
}


def write(folder, *rows, name="m.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(ROW | row) + "\n" for row in rows))
    return path


def sounds(folder, number=12):
    """Each second of a recording is as loud as its number."""
    for index in range(number):
        loud = np.repeat(np.arange(1, 5) / 10, RATE).astype(np.float32)
        soundfile.write(folder / f"{index}.wav", loud, RATE, subtype="FLOAT")


def both_groups(number, **fields):
    for index in range(number):
        for task, group in (("words", "semantic"), ("noises", "acoustic")):
            row = {"audio_filepath": f"{index}.wav", "task": task, "group": group}
            row["prompt"] = f"What {task}?"
            yield row | {name: value(index) for name, value in fields.items()}


# parts of files


@pytest.mark.parametrize(
    ("part", "levels"),
    [
        ({}, [0.1, 0.2, 0.3, 0.4]),
        ({"offset": 1}, [0.2, 0.3, 0.4]),
        ({"offset": 1.0, "duration": 2}, [0.2, 0.3]),
        ({"duration": 1}, [0.1]),
        ({"offset": 0, "duration": None}, [0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_a_part_of_a_file_is_what_is_heard(tmp_path, part, levels):
    sounds(tmp_path)
    path = write(tmp_path, *(row | part for row in both_groups(12)))
    expected = np.repeat(levels, RATE)
    for heard in (manifest_samples(path, 2)[0].read(), manifest(path).items[0].read()[0]):
        np.testing.assert_allclose(heard, expected, atol=1e-3)


def test_parts_of_one_file_are_different_entries(tmp_path):
    path = write(tmp_path, {}, {"offset": 1}, {"offset": 2}, {"offset": 2, "duration": 1})
    assert len({entry.id for entry in read_manifest(path)}) == 4
    with pytest.raises(UsageError, match=r":2: the same entry as in line 1"):
        read_manifest(write(tmp_path, {"offset": 1}, {"offset": 1.0}))


def test_ids_of_whole_files_are_what_they_were(tmp_path):
    (entry,) = read_manifest(write(tmp_path, {"offset": 0, "duration": None}))
    assert entry.id == "a.wav#b3c7afbd"


@pytest.mark.parametrize(
    "value", ["x", -1, True, [], float("inf"), 10**400, "nan", {}, "1_0", "１", "1 0"]
)
@pytest.mark.parametrize("key", ["offset", "duration"])
def test_parts_that_are_none(tmp_path, key, value):
    path = write(tmp_path, {}, {"answer": "no", key: value})
    with pytest.raises(UsageError, match=rf"{path}:2: ({key} is|not JSON: Infinity is no number)"):
        read_manifest(path)


# speakers


@pytest.mark.parametrize("speaker", [lambda n: n // 2, lambda n: n // 2 * 1.5, lambda n: str(n)])
def test_speakers_of_any_kind_stay_on_one_side(tmp_path, speaker):
    sounds(tmp_path, 36)
    rows = list(both_groups(36, speaker=speaker))
    of_file = {row["audio_filepath"]: row["speaker"] for row in rows}
    sides = {}
    for sample in manifest_samples(write(tmp_path, *rows), 40):
        who = of_file[sample.id.partition("#")[0]]
        assert sides.setdefault(who, sample.fold) == sample.fold
    assert 0 in sides or "0" in sides


def test_no_speaker_is_told_from_speaker_zero(tmp_path):
    rows = ({"speaker": 0}, {"speaker": None, "source": 0}, {"speaker": ""}, {"speaker": False})
    path = write(tmp_path, *(row | {"answer": f"a{n}"} for n, row in enumerate(rows)))
    assert [entry.cluster for entry in read_manifest(path)] == ["0", "0", "a.wav", "False"]
    with pytest.raises(UsageError, match=r":1: speaker is .* give a text or a number"):
        read_manifest(write(tmp_path, {"speaker": ["a"]}))


def test_two_spellings_of_a_path_are_one_cluster(tmp_path):
    path = write(tmp_path, {}, {"audio_filepath": "./x/../a.wav"})
    assert {entry.cluster for entry in read_manifest(path)} == {"a.wav"}


# files


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1, "a": 2}', "not JSON: the key 'a' stands twice"),
        (b'{"speaker": NaN}', "not JSON: NaN is no number"),
        (b"[" * 100_000, "not JSON"),
        (b'{"x": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"caf\xe9", "not UTF-8 text"),
        (b'{"prompt": "\\ud800"}', "not JSON"),
        (b"3", "expected a JSON object"),
        (b'{"audio_filepath": "a.wav"}', "needs a text in 'task'"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = write(tmp_path, {})
    path.write_bytes(path.read_bytes() + b"\n" + line + b"\n")
    with pytest.raises(UsageError, match=rf"{path}:3: {message}"):
        read_manifest(path)


def test_marks_blank_lines_and_carriage_returns(tmp_path):
    text = json.dumps(ROW).encode()
    (tmp_path / "m.jsonl").write_bytes(b"\xef\xbb\xbf\r\n\r\n" + text + b"\r\n\n  \n")
    (entry,) = read_manifest(tmp_path / "m.jsonl")
    assert (entry.line, entry.answer) == (3, "yes")
    rows = ["file_name,task,group,prompt,answer,speaker", "a.wav,words,semantic,What?,yes,0"]
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    (entry,) = read_manifest(tmp_path / "m.csv")
    assert (entry.where, entry.cluster) == (f"{tmp_path / 'm.csv'}:2", "0")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("file_name,task,task\na,b,c", "1: the column 'task' stands twice"),
        ("file_name,task\na,b,c", "2: more fields than columns"),
        ('file_name,task\n"a', r"\d: not CSV"),
        ("file_name,task\na", "2: needs a text in 'task', got None"),
    ],
)
def test_a_bad_table_is_named(tmp_path, text, where):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UsageError, match=f"m.csv:{where}"):
        read_manifest(tmp_path / "m.csv")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no regular file"):
        read_manifest(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no such manifest"):
        read_manifest(tmp_path / "-")


def test_names_that_no_file_can_have(tmp_path):
    for name in ("a\0b.wav", "x" * 5000, "."):
        rows = both_groups(12, audio_filepath=lambda n, name=name: name)
        path = write(tmp_path, *(row | {"answer": f"{n}"} for n, row in enumerate(rows)))
        with pytest.raises(UsageError, match=":1: no such audio file"):
            manifest_samples(path, 2)
        assert len(read_data(str(path)).faults) == 24


def test_a_task_in_both_groups_is_named_by_both_lines(tmp_path):
    path = write(tmp_path, {}, {}, {"answer": "no", "group": "acoustic"})
    with pytest.raises(UsageError, match=r":3: task .* in both groups \(semantic in line 1"):
        read_manifest(path)


# many


def test_many_questions_about_one_recording_are_told_apart(tmp_path):
    path = tmp_path / "m.jsonl"
    with path.open("w") as file:
        for number in range(200_000):
            file.write(json.dumps(ROW | {"prompt": f"Question {number}?"}) + "\n")
    entries = read_manifest(path)
    assert len({entry.id for entry in entries}) == 200_000
    # 32 bits hold most of them apart, and those keep the ids that journals know
    longer = [entry for entry in entries if len(entry.id.partition("#")[2]) > 8]
    assert 0 < len(longer) < 40


def test_a_reference_that_the_context_does_not_hold_is_refused_by_its_line(loaded, tmp_path):
    sounds(tmp_path)
    rows = list(both_groups(12))
    rows[4]["answer"] = "word " * 1600
    path = write(tmp_path, *rows)
    with pytest.raises(UsageError, match=rf"{path}:5: the answer is \d+ tokens long"):
        check_answers(loaded, ((e.where, e.answer, 1100) for e in read_manifest(path)))
    with pytest.raises(UsageError, match=rf"{path}:5: the answer is"):
        calibrate(
            loaded,
            manifest_samples(path, 12),
            layer=2,
            ratios=(0.6,),
            seed=0,
            progress=None,
        )
    check_answers(loaded, [("x", "word " * 1600, None), ("x", "word " * 30, 40)])
    with pytest.raises(UsageError, match="at most 40"):
        check_answers(loaded, [("x", "word " * 50, 40)])


def test_an_evaluation_refuses_it_too(thinker, tmp_path):
    sounds(tmp_path)
    rows = [row | {"kind": "transcript"} for row in both_groups(3)]
    rows[4]["answer"] = "word " * 1600
    path, folder = write(tmp_path, *rows), tmp_path / "out"
    options = ["--model", thinker, "--methods", "frame", "--data", path, "-o", folder]
    done = CliRunner().invoke(app, ["evaluate", *map(str, options)])
    assert done.exit_code == 2
    assert f"{path}:5: the answer is" in done.stderr
