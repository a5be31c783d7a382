"""Writing files: in one step, so that a reader finds the old file, the new one, or none.

The content goes to a temporary file beside the target, reaches the disk, and takes the target's
name. The temporary name cannot be guessed and is created exclusively; what a killed process left of
one is removed by the next that writes to the folder.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from headrouter_core.errors import HeadRouterError, UsageError

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

_PREFIX, _SUFFIX = ".headrouter-", ".tmp"
_TRIED = 1 << 20  # bytes; more than profiles, results and most pictures have


def write(path: Path, content: bytes, *, force: bool = False) -> None:
    """Put ``content`` at ``path`` in one step; a link stays, and the file it names is written.

    A new file gets the permissions that the umask leaves, a replaced one keeps its own.

    Raises:
        UsageError: see :func:`check`.
        HeadRouterError: the system refuses to write.
    """
    target = _checked(path, force)
    try:
        with _temporary(target.parent) as (file, partial):
            _fill(file, content)
            os.fsync(file.fileno())
            if target.exists():
                partial.chmod(stat.S_IMODE(target.stat().st_mode))
            if fcntl is None:
                file.close()  # Windows gives no open file another name
            if force:
                partial.replace(target)
            else:
                _name(partial, target)
        sync_folder(target.parent)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise HeadRouterError(f"cannot write {path}: {error.strerror or error}") from error


def check(path: Path, *, force: bool = False) -> None:
    """Raise where :func:`write` would not be able to write, before any time is spent.

    Raises:
        UsageError: a folder, something else that is no file, an existing file without ``force``, or
            a place where no file of a megabyte can be made: a full disk, a quota, a limit.
    """
    target = _checked(path, force)
    try:
        with _temporary(target.parent) as (file, _):
            _fill(file, bytes(_TRIED))
    except OSError as error:
        raise _impossible(path, error) from error


def _checked(path: Path, force: bool) -> Path:
    """Return the file that ``path`` stands for, behind all links."""
    there: os.stat_result | None = None
    try:
        target = path.resolve()  # raises where the working folder was removed
        folder = target.parent.is_dir()
        with contextlib.suppress(FileNotFoundError):
            there = target.stat()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a name that none has
        raise _impossible(path, error) from error
    if not folder:
        raise UsageError(f"{path.parent} is not a folder; create it first")
    if there is None:
        return target
    if stat.S_ISDIR(there.st_mode):
        raise UsageError(f"{path} is a folder; give the name of a file")
    if not stat.S_ISREG(there.st_mode):
        raise UsageError(f"{path} is no regular file and is not replaced; choose another name")
    if not force:
        raise _exists(path)
    return target


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[tuple[io.FileIO, Path]]:
    """Create a file in ``folder``; whatever happens, nothing is left of its name."""
    _sweep(folder)
    file, path = _created(folder)
    try:
        yield file, path
    finally:
        file.close()
        path.unlink(missing_ok=True)


def _created(folder: Path) -> tuple[io.FileIO, Path]:
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        # mode "x" is O_EXCL; unlike tempfile's, the file gets the permissions of any other
        file = io.FileIO(path, "x")
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        # another thread may have swept it away before it was locked
        if os.fstat(file.fileno()).st_nlink or fcntl is None:
            return file, path
        file.close()


def _sweep(folder: Path) -> None:
    """Remove temporary files whose writers are gone: the living hold a lock on theirs."""
    if fcntl is None:
        return
    # a folder may be writable and not readable, another process faster, a file somebody else's
    with contextlib.suppress(OSError):
        names = os.listdir(folder)
        for name in names:
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
                with contextlib.suppress(OSError):
                    _remove_unlocked(folder / name)


def _remove_unlocked(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(descriptor)


def _fill(file: io.FileIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _name(partial: Path, target: Path) -> None:
    """Give the file its name unless another was faster; file systems without links cannot tell."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        partial.replace(target)


def sync_folder(folder: Path) -> None:
    """Let names in a folder, or that they are gone, reach the disk too."""
    # some file systems cannot, and the file itself is in place
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists; choose another name, or force to replace it")


def _impossible(path: Path, error: Exception) -> UsageError:
    cause = getattr(error, "strerror", None) or error
    return UsageError(f"{path} cannot be written: {cause}; choose another place")
