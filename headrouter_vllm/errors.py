"""What is refused, and when."""

from __future__ import annotations

from headrouter_core.errors import UnsupportedModelError, UsageError


class RequestError(UsageError, ValueError):
    """A request asks for what cannot be done; vLLM answers a ValueError with HTTP 400."""


class StartError(UnsupportedModelError):
    """The server cannot start: what it was told to do would not be exact, or not be possible."""
