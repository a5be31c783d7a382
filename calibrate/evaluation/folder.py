"""The folder of an evaluation: which file is what, and when it may be written."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from headrouter_core.basics import writing
from headrouter_core.errors import HeadRouterError, UsageError
from headrouter_core.profile import bundle


class Folder:
    """The files that ``headrouter evaluate`` writes and ``headrouter report`` reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "evaluation.journal.jsonl"
        self.results = path / "results.json"
        self.timing = path / "timing.json"
        self.probes = path / "probes.json"
        self.examples = path / "examples.json"
        self.sounds = path / "examples"
        self.plots = path / "plots"
        self.judge = path / "for-judge"
        self.page = path / "report.html"

    def check(self, *, force: bool) -> None:
        """Refuse what cannot be the folder of this evaluation, before any time is spent.

        Raises:
            UsageError: a file, results without the journal that could tell whose they are, or a
                folder that cannot be written to.
        """
        # not Path's own methods, which raise for names that no folder can have
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise UsageError(f"{self.path} is a file; --output is a folder")
        if os.path.exists(self.results) and not os.path.exists(self.journal) and not force:
            raise UsageError(
                f"{self.results} exists and there is no journal to go on with; give another"
                " --output, or start anew with --force"
            )
        if not os.path.exists(self.path):
            there = next(place for place in self.path.parents if os.path.exists(place))
            if not os.path.isdir(there):
                raise UsageError(f"cannot make the folder {self.path}: {there} is a file")
            self._check_names(there)
            writing.check(there / self.results.name, force=True)
            return
        for path in (self.journal, self.results, self.timing, self.probes, self.examples):
            writing.check(path, force=True)
        for path in (self.sounds, self.plots, self.judge):
            if path.exists() and not path.is_dir():
                raise UsageError(f"{path} is a file, and results need a folder of that name")

    def _check_names(self, there: Path) -> None:
        """Refuse names that no folder in ``there`` can have, such as one of 300 characters."""
        names = (there / name for name in self.path.relative_to(there).parts)
        for path in (self.path, *names):
            try:
                os.lstat(path)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                cause = getattr(error, "strerror", None) or error
                raise UsageError(f"cannot make the folder {self.path}: {cause}") from error

    def make(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            UsageError: the system refuses.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {self.path}: {error.strerror}") from error

    def shard(self, number: int, count: int) -> Path:
        """Return the journal of one of ``count`` shards."""
        return self.path / f"shard-{number}-of-{count}.journal.jsonl"

    def shards(self) -> list[Path]:
        """Return the journals of all shards that were begun."""
        return sorted(self.path.glob("shard-*-of-*.journal.jsonl"))

    def sound(self, name: str) -> Path:
        """Return the file that holds the sound of an example, which lies nowhere else.

        Raises:
            HeadRouterError: it is not there.
        """
        path = self.sounds / Path(name).name
        if not path.is_file():
            raise HeadRouterError(f"{path} is missing; run headrouter evaluate again to make it")
        return path

    def stored(self, path: Path, evaluation: dict[str, Any]) -> dict[str, Any]:
        """Return a JSON file that :meth:`store` wrote; empty if there is none of this evaluation.

        Raises:
            HeadRouterError: it is damaged.
        """
        try:
            found: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return found if found["of"] == digest(evaluation) else {}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise HeadRouterError(f"{path} cannot be read ({error!r}); remove it") from error

    def store(self, path: Path, evaluation: dict[str, Any], content: dict[str, Any]) -> None:
        """Write a JSON file that belongs to an evaluation, which is known by its header."""
        write(path, json.dumps({"of": digest(evaluation), **content}, ensure_ascii=False) + "\n")


def digest(evaluation: dict[str, Any]) -> str:
    """Return the sha256 of an evaluation's header."""
    return hashlib.sha256(bundle.canonical_json(evaluation).encode()).hexdigest()


def write(path: Path, content: bytes | str) -> None:
    """Put a file at ``path`` in one step, in the place of an older one; its folder is made."""
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise HeadRouterError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    if isinstance(content, str):
        # halves of characters, which names that are not UTF-8 have, become escapes
        content = content.encode("utf-8", "backslashreplace")
    writing.write(path, content, force=True)
