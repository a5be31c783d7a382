"""What ``headrouter plan`` is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from calibrate.models.named import EMBEDDED
from calibrate.planning.gpus import Gpu, find_gpu
from calibrate.sound.files.sources import STDIN
from calibrate.terminal.ratios import check_ratios
from headrouter_core.errors import UsageError
from headrouter_core.pruning.context import DEFAULT_LAYER

#: The question whose tokens are counted, unless one is given.
QUESTION = "Transcribe the audio."


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of the command, as given."""

    audio: tuple[Path | str, ...] = ()
    data: str | None = None
    model: str = EMBEDDED
    revision: str | None = None
    ratio: float | None = None
    """``None``: that of ``prune``; with ``data`` those of ``calibrate`` and ``evaluate``."""
    layer: int = DEFAULT_LAYER
    question: str | None = None
    gpu: str | None = None
    tflops: float | None = None
    endpoint: str | None = None
    endpoint_model: str | None = None
    timeout: float = 300.0
    dtype: str = "auto"
    as_json: bool = False
    trust_remote_code: bool = False

    def check(self) -> Gpu | None:
        """Refuse what can be refused before anything is read; return the GPU that is named.

        Raises:
            UsageError: nothing to plan for, an option out of range, or options that exclude others.
        """
        if self.ratio is not None:
            check_ratios([self.ratio])
        if bool(self.audio) == (self.data is not None):
            raise UsageError("give recordings, or what to calibrate or evaluate on: --data WHAT")
        if self.endpoint is not None and len(self.audio) != 1:
            raise UsageError(
                f"--endpoint is asked about one recording, and {len(self.audio)} are given"
            )
        if self.endpoint is None and self.endpoint_model is not None:
            raise UsageError("--endpoint-model is for --endpoint URL, which is not given")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise UsageError(f"--timeout is {self.timeout:g}; give seconds, more than 0")
        if self.question is not None and not self.question.strip():
            raise UsageError("--question is empty; leave it out to plan for the default one")
        if self.audio.count(STDIN) > 1:
            raise UsageError("- is given twice, and standard input can be read once")
        return find_gpu(self.gpu, self.tflops)

    @property
    def asked(self) -> str:
        """The question."""
        return QUESTION if self.question is None else self.question
