"""A killed evaluation loses the line that was being written, and nothing else."""

import json

import pytest

from calibrate.evaluation.journal import opened
from headrouter_core.errors import UsageError

HEADER = {"model": "tiny-omni", "ratios": [0.3, 0.6], "seed": 0}


def begun(path, *ids):
    with opened(path, HEADER) as journal:
        for name in ids:
            journal.write({"id": name, "answer": "Käse"})
    return path


def test_what_was_written_is_there_again(tmp_path):
    path = begun(tmp_path / "j.jsonl", "a", "b")
    with opened(path, HEADER) as journal:
        assert list(journal.lines) == ["a", "b"]
        journal.write({"id": "c"})
    whole = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [line.get("id") for line in whole] == [None, "a", "b", "c"]
    assert whole[0] == HEADER


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_half_a_line_is_cut_off(tmp_path, cut):
    path = begun(tmp_path / "j.jsonl", "a", "b")
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    with opened(path, HEADER) as journal:
        assert list(journal.lines) == ["a"]
        journal.write({"id": "b", "answer": "Käse"})
    assert path.read_bytes() == content


def test_half_a_header_is_begun_anew(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('{"model": "tiny-')
    with opened(path, HEADER) as journal:
        assert not journal.lines
    assert json.loads(path.read_text()) == HEADER


def test_another_evaluation_is_not_mixed_in(tmp_path):
    path = begun(tmp_path / "j.jsonl", "a")
    content = path.read_bytes()
    with (
        pytest.raises(UsageError, match=r"another seed \(seed: 0, now 1\).*--force"),
        opened(path, {**HEADER, "seed": 1}),
    ):
        pytest.fail("opened")
    assert path.read_bytes() == content


def test_something_else_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes\nand more\n")
    with pytest.raises(UsageError, match="not the journal"), opened(path, HEADER):
        pytest.fail("opened")
    assert path.read_text() == "my notes\nand more\n"
