"""What ``headrouter prune`` is asked to do."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from calibrate.models.named import EMBEDDED
from calibrate.sound.files.sources import STDIN
from calibrate.terminal.outputs import claim
from headrouter_core.errors import UsageError
from headrouter_core.scoring import exact_ratio
from headrouter_core.selectors import get_selector


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of the command, as given."""

    audio: tuple[Path | str, ...]
    """Files; :data:`STDIN` is none."""
    ratio: float = 0.6
    question: str | None = None
    model: str = EMBEDDED
    revision: str | None = None
    profile: str | None = None
    method: str = "headrouter"
    layer: int | None = None
    max_new_tokens: int = 256
    plot: Path | None = None
    page: Path | None = None
    output: Path | None = None
    force: bool = False
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    as_json: bool = False
    trust_remote_code: bool = False

    def check(self) -> None:
        """Refuse what can be refused before anything is loaded.

        Raises:
            UsageError: an option out of range, or a file in the way.
        """
        if self.question is not None and not self.question.strip():
            raise UsageError(
                "--question is empty, and a question needs an audio and a text; leave the option"
                " out to ask the default one"
            )
        if self.audio.count(STDIN) > 1:
            raise UsageError("- is given twice, and standard input can be read once")
        written = [path for path in (self.output, self.plot, self.page) if path is not None]
        if written and len(self.audio) > 1:
            raise UsageError(f"{written[0]} can hold one recording and {len(self.audio)} are given")
        for earlier, later in itertools.combinations(written, 2):
            if earlier.resolve() == later.resolve():
                raise UsageError(
                    f"{later} is given twice; --output, --plot and --page are files of their own"
                )
        files = [Path(given) for given in self.audio if given != STDIN]
        inputs = [*files, *([Path(self.profile)] if self.profile else [])]
        claim(self.output, plot=self.plot, page=self.page, force=self.force, inputs=inputs)
        exact_ratio(self.ratio)
        get_selector(self.method)
