"""One way of writing files: in one step, by whoever, over whatever; nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headrouter_core.basics import writing
from headrouter_core.basics.writing import check, write
from headrouter_core.errors import HeadRouterError, UsageError
from headrouter_core.profile.profile import Profile

from ..checking.bundles import make_profile

ROOT = Path(__file__).parents[3]


def mode(path):
    return path.stat().st_mode & 0o7777


def together(number, function):
    """Run ``function(index)`` in threads at the same time; return what each raised."""
    raised, gate = [None] * number, threading.Barrier(number)

    def run(index):
        gate.wait()
        try:
            function(index)
        except Exception as error:
            raised[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_threads_write_to_one_folder_and_to_one_file(tmp_path):
    profile = make_profile()
    apart = together(16, lambda n: [profile.save(tmp_path / f"{n}-{i}.st") for i in range(20)])
    assert apart == [None] * 16
    one = tmp_path / "one.st"
    assert together(16, lambda n: profile.save(one, force=True)) == [None] * 16
    assert Profile.load(one).digest == profile.digest
    assert len(list(tmp_path.iterdir())) == 16 * 20 + 1


def test_of_threads_that_replace_nothing_one_writes(tmp_path):
    path = tmp_path / "one"
    raised = together(12, lambda n: write(path, bytes([n]) * 10_000))
    (winner,) = [index for index, error in enumerate(raised) if error is None]
    assert path.read_bytes() == bytes([winner]) * 10_000
    assert all(isinstance(error, UsageError) for error in raised if error is not None)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to("far/target")
    with pytest.raises(UsageError, match="exists"):
        write(link, b"new")
    write(link, b"new", force=True)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["far", "link", "target"]


def test_a_link_to_nothing_yet(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "later")
    write(tmp_path / "link", b"new")
    assert (tmp_path / "later").read_bytes() == b"new"
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere" / "later")
    with pytest.raises(UsageError, match="create it first"):
        write(tmp_path / "lost", b"new")


def test_permissions_are_the_umasks_or_those_of_the_replaced_file(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "new", b"")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o640
    (tmp_path / "new").chmod(0o604)
    write(tmp_path / "new", b"", force=True)
    assert mode(tmp_path / "new") == 0o604


@pytest.mark.parametrize("attempt", [check, lambda path, **options: write(path, b"x", **options)])
def test_places_that_cannot_be_written(tmp_path, attempt):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for path, match in (
        (tmp_path, "is a folder"),
        (tmp_path / "missing" / "x", "create it first"),
        (tmp_path / "file" / "x", "create it first|cannot be written"),
        (tmp_path / "loop", "cannot be written"),
        (tmp_path / ("x" * 300), "cannot be written"),
        (tmp_path / "nul\0", "cannot be written"),
        (tmp_path / "pipe", "no regular file"),
        (Path("/dev/full"), "no regular file"),
    ):
        with pytest.raises(UsageError, match=match):
            attempt(path, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop", "pipe"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that holds no files")
def test_a_folder_that_takes_no_files_is_found_out_before(tmp_path):
    with pytest.raises(UsageError, match=r"/proc/x cannot be written: .*; choose another place"):
        check(Path("/proc/x"))
    with pytest.raises(HeadRouterError, match="cannot write /proc/x"):
        write(Path("/proc/x"), b"")


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits on the size of files")
def test_too_little_room_is_found_out_before(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from headrouter_core.basics.writing import check
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    check(Path(sys.argv[1]))
except Exception as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "profile")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout == (
        f"{tmp_path / 'profile'} cannot be written: File too large; choose another place\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_asking_leaves_nothing_and_changes_nothing(tmp_path):
    (tmp_path / "old").write_text("old")
    check(tmp_path / "old", force=True)
    check(tmp_path / "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


KILLED = """
import os, sys
from pathlib import Path
from headrouter_core.basics import writing
def hang(descriptor):
    print("half", flush=True)
    sys.stdin.read()
os.fsync = hang
writing.write(Path(sys.argv[1]), b"x" * 100)
"""


def test_what_a_killed_process_left_is_removed_and_what_the_living_write_is_not(tmp_path):
    def begin():
        command = [sys.executable, "-c", KILLED, str(tmp_path / "never")]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "half\n"
        return process

    with begin() as dead, begin() as living:
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert len(list(tmp_path.iterdir())) == 2
        write(tmp_path / "other", b"")
        names = {path.name for path in tmp_path.iterdir()}
        assert len(names) == 2
        assert "other" in names
        living.communicate("")
        assert living.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"never", "other"}


def test_temporary_names_cannot_be_guessed_and_are_taken_by_nobody(tmp_path, monkeypatch):
    names = ["0" * 16, "1" * 16]
    monkeypatch.setattr(writing.secrets, "token_hex", lambda _: names.pop(0))
    (tmp_path / "victim").write_text("precious")
    trap = tmp_path / f".headrouter-{'0' * 16}.tmp"
    trap.symlink_to(tmp_path / "victim")
    with pytest.raises(UsageError):
        write(tmp_path / "x", b"evil")
    write(tmp_path / "x", b"fine")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HeadRouterError, match="No space left on device"):
        write(tmp_path / "x", b"new", force=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_name_that_is_no_text(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.st")
    write(path, b"new")
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9.st"]


def test_a_working_folder_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        write(Path("file"), b"content")
