"""What goes wrong offline: branches of the core's error tree."""

from __future__ import annotations

from headrouter_core.errors import HeadRouterError, UsageError


class AudioError(HeadRouterError):
    """A recording cannot be decoded whole, or is too long or too short for the model."""


class AudioWarning(UserWarning):
    """Something is odd about a recording that is used all the same."""


class MissingAudioError(AudioError, UsageError):
    """The path of a recording does not name a file."""


class ModelError(HeadRouterError):
    """A model cannot be had or loaded: offline, gated, incomplete, damaged."""


class SomeFailedError(HeadRouterError):
    """Some inputs of many failed and were reported; the others were done."""


def first_line(error: Exception) -> str:
    """Return how a library's message begins; what follows is often a page."""
    return str(error).strip().partition("\n")[0]
