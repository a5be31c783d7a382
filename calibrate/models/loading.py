"""Loading the model that a command names, and telling its user what was chosen and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from calibrate.models import named
from calibrate.models.frontends.base import FrontEnd
from calibrate.models.named import Loaded
from calibrate.terminal.console import say, working


class Asked(Protocol):
    """What a command is told of the model; see :func:`calibrate.models.named.load`."""

    @property
    def model(self) -> str:
        """Alias, Hub id or local folder."""

    @property
    def revision(self) -> str | None:
        """Branch, tag or commit on the Hub."""

    @property
    def device(self) -> str:
        """``auto``, or where the model goes."""

    @property
    def dtype(self) -> str:
        """``auto``, or the dtype of its weights."""

    @property
    def trust_remote_code(self) -> bool:
        """Whether code of the model's repository may run."""


def load_asked(request: Asked, ready: Callable[[FrontEnd], None] | None = None) -> Loaded:
    """Load a model under a spinner, and say which device and dtype it got.

    Args:
        request: which, and how.
        ready: see :func:`calibrate.models.named.load`.

    Raises:
        UsageError, ModelError, UnsupportedModelError: see :func:`calibrate.models.named.load`.
    """
    with working(f"loading {request.model}"):
        loaded = named.load(
            request.model,
            revision=request.revision,
            device=request.device,
            dtype=request.dtype,
            trust_remote_code=request.trust_remote_code,
            ready=ready,
        )
    for reason in loaded.reasons:
        say(reason)
    return loaded
