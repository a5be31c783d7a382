"""A killed evaluation loses the line that was being written, and nothing else."""

import errno
import json
import os
import re
import stat

import pytest

from calibrate.running.journal import lines_of, opened
from headrouter_core.errors import HeadRouterError, UsageError

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
    assert {name: whole[0][name] for name in HEADER} == HEADER
    assert all(list(line)[-1] == "checksum" for line in whole)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_half_a_line_is_cut_off(tmp_path, cut):
    path = begun(tmp_path / "j.jsonl", "a", "b")
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    with opened(path, HEADER) as journal:
        assert list(journal.lines) == ["a"]
        journal.write({"id": "b", "answer": "Käse"})
    assert path.read_bytes() == content


def test_the_file_gets_its_name_with_its_header(tmp_path, monkeypatch):
    """Killed before, nothing is there; the folder is synced, so that a power cut takes no name."""
    path, synced = tmp_path / "j.jsonl", []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file)), fsync(file)))
    with opened(path, HEADER):
        assert [stat.S_ISDIR(found.st_mode) for found in synced] == [False, True]
        assert HEADER.items() <= json.loads(path.read_text()).items()


def test_blocks_that_a_power_cut_kept_from_the_disk_are_cut_off(tmp_path):
    path = begun(tmp_path / "j.jsonl", "a", "b")
    content = path.read_bytes()
    last = content.rfind(b"\n", 0, -1) + 1
    for begin in range(last, len(content)):
        for end in {len(content), len(content) - 1, (begin + len(content)) // 2} - {begin}:
            path.write_bytes(content[:begin] + bytes(end - begin) + content[end:])
            assert list(lines_of(path, HEADER)) == ["a"]
    path.write_bytes(content + bytes(100))
    with opened(path, HEADER) as journal:
        assert list(journal.lines) == ["a", "b"]
    assert path.read_bytes() == content


def test_what_is_over_leaves_nothing_behind(tmp_path):
    with opened(tmp_path / "j.jsonl", HEADER) as journal:
        journal.write({"id": "a"})
        journal.over = True
    assert not list(tmp_path.iterdir())


def test_what_failed_stays_to_be_gone_on_with(tmp_path):
    path = tmp_path / "j.jsonl"

    def fail():
        with opened(path, HEADER) as journal:
            journal.write({"id": "a"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(lines_of(path, HEADER)) == ["a"]


def test_two_processes_do_not_write_one_journal(tmp_path):
    path = tmp_path / "j.jsonl"
    with opened(path, HEADER) as journal:
        journal.write({"id": "a"})
        # a process of its own would see the same: each lock has a file descriptor of its own
        with pytest.raises(UsageError, match="another process"), opened(path, HEADER):
            pytest.fail("opened")
        journal.write({"id": "b"})
    with opened(path, HEADER) as journal:
        assert list(journal.lines) == ["a", "b"]


def test_another_evaluation_is_not_mixed_in(tmp_path):
    path = begun(tmp_path / "j.jsonl", "a")
    content = path.read_bytes()
    with (
        pytest.raises(UsageError, match=r"another seed \(seed: 0, now 1\).*--force"),
        opened(path, {**HEADER, "seed": 1}),
    ):
        pytest.fail("opened")
    assert path.read_bytes() == content


def test_of_long_settings_only_the_difference_is_told(tmp_path):
    methods = {name: {"selector": name} for name in ("frame", "random", "fastv")}
    path = tmp_path / "j.jsonl"
    with opened(path, {"methods": methods}):
        pass
    told = r"\(methods: \{'random': .*\}, now \{'dart': .*\}\)"
    with (
        pytest.raises(UsageError, match=told) as caught,
        opened(
            path, {"methods": {"frame": methods["frame"], "dart": {}, "fastv": methods["fastv"]}}
        ),
    ):
        pytest.fail("opened")
    assert "frame" not in str(caught.value)


def test_of_many_differences_the_first_are_told(tmp_path):
    path = tmp_path / "j.jsonl"
    with opened(path, {"samples": {str(number): "was" for number in range(9)}}):
        pass
    told = r"\(samples: \{'0': 'was', '1': 'was', '2': 'was'\}, now .*, and 6 more\); give"
    now = {"samples": {str(number): "is" for number in range(9)}}
    with pytest.raises(UsageError, match=told), opened(path, now):
        pytest.fail("opened")


def test_something_else_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes\nand more\n")
    with pytest.raises(UsageError, match="not the journal"), opened(path, HEADER):
        pytest.fail("opened")
    assert path.read_text() == "my notes\nand more\n"


def test_an_unfinished_line_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes, which do not end")
    with pytest.raises(UsageError, match="not the journal"), opened(path, HEADER):
        pytest.fail("opened")
    assert path.read_text() == "my notes, which do not end"


@pytest.mark.parametrize("content", ["my notes\n", '{"seed": 1}\n', "[]\n", "half"])
def test_begun_anew_where_it_is_wanted(tmp_path, content):
    path = tmp_path / "j.jsonl"
    path.write_text(content)
    with opened(path, HEADER, anew=True) as journal:
        assert not journal.lines
        journal.write({"id": "a"})
    with opened(path, HEADER, anew=True) as journal:  # its own is gone on with
        assert list(journal.lines) == ["a"]


def test_of_two_lines_the_later_holds(tmp_path):
    path = begun(tmp_path / "j.jsonl", "a")
    with opened(path, HEADER) as journal:
        journal.write({"id": "a", "answer": ("new", 1)})
        assert journal.lines["a"]["answer"] == ["new", 1]  # as it is read back
    with opened(path, HEADER) as journal:
        assert journal.lines["a"]["answer"] == ["new", 1]


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    path = begun(tmp_path / "j.jsonl", "a")
    content = path.read_bytes()
    real, calls = os.write, []

    def full(descriptor, data):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, bytes(data)[:3])  # a part of it fits

    with opened(path, HEADER) as journal:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(HeadRouterError, match="No space left"):
            journal.write({"id": "b"})
        monkeypatch.undo()
        assert path.read_bytes() == content
        journal.write({"id": "b"})
    with opened(path, HEADER) as journal:
        assert list(journal.lines) == ["a", "b"]


def test_writes_in_parts_are_whole(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:7]))
    path = begun(tmp_path / "j.jsonl", "a", "b")
    with opened(path, HEADER) as journal:
        assert list(journal.lines) == ["a", "b"]


def test_a_flipped_bit_is_noticed_and_its_line_named(tmp_path):
    path = begun(tmp_path / "j.jsonl", "a", "b", "c")
    content, passed, named = path.read_bytes(), [], []
    for bit in range(8 * (len(content) - 1)):  # what the last line break becomes is cut off
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            lines_of(path, HEADER)
        except UsageError as error:
            named.append((content[: bit // 8].count(b"\n") + 1, str(error)))
            continue
        passed.append(bit)
    assert passed == []
    for line, message in named:
        # a line break more or less moves what is behind it
        assert line == 1 or re.search(rf"j\.jsonl:({line}|{line + 1}) is damaged", message)


def test_a_damaged_line_that_is_removed_is_asked_again(tmp_path):
    path = begun(tmp_path / "j.jsonl", "a", "b")
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[2], b""]))
    assert list(lines_of(path, HEADER)) == ["b"]


def test_journals_of_earlier_versions_are_gone_on_with(tmp_path):
    path = tmp_path / "j.jsonl"
    lines = [HEADER, {"id": "a", "answer": "Käse"}]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    with opened(path, HEADER) as journal:
        assert journal.lines == {"a": lines[1]}
        journal.write({"id": "b"})
    assert list(lines_of(path, HEADER)) == ["a", "b"]


def test_names_that_are_no_text_come_back(tmp_path):
    path = begun(tmp_path / "j.jsonl", "caf\udce9")
    assert list(lines_of(path, HEADER)) == ["caf\udce9"]
