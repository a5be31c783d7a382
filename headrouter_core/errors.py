"""Every error that headrouter raises on purpose, in one tree.

Code that embeds the core can catch :class:`HeadRouterError`; the command line maps each branch to
an exit code. A message says what is wrong, which value, and what to do next.
"""

from __future__ import annotations


class HeadRouterError(Exception):
    """Base of all errors that headrouter raises on purpose."""


class UsageError(HeadRouterError):
    """An argument is out of range or unknown: the caller has to change the call."""


class ProfileError(HeadRouterError):
    """A profile cannot be read, or holds values that no profile may hold."""


class ProfileMismatchError(ProfileError):
    """A sound profile that does not belong to this model (weights, probe layer or head count)."""


class UnsupportedModelError(HeadRouterError):
    """The model's architecture cannot be pruned exactly; the message names the reason."""


class NonFiniteError(HeadRouterError):
    """States, scores or logits are NaN or infinite: damaged weights, broken input, an overflow."""

    def __init__(self, message: str, *, weight: str | None = None) -> None:
        super().__init__(message)
        self.weight = weight
        """Name of the damaged weight, if it is one: then every input fails."""


class PruningError(HeadRouterError):
    """Pruning could not be done exactly in this forward pass, so that it gave no answer.

    A cache that was passed to it may hold a part of the forward, and is then refused: start again
    with a new one.
    """


class SelectionError(PruningError):
    """A selector broke its contract: not exactly k ascending, unique indices inside the audio, or
    other parts of another kind than :class:`~headrouter_core.Selection` says."""


class EvictionError(HeadRouterError):
    """The cache could not be evicted from, or not be continued, exactly.

    A cache that was passed may hold a part of the forward: start again with a new one.
    """
