"""Reading and changing the arguments of a module call by name, however they were passed.

What transformers calls its cache differs between versions: layers, models and mask functions take
``past_key_values`` up to 5.20 and ``cache`` later. Each is asked what it takes; here it is always
``cache``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

#: What functions of transformers call their cache, newest first.
CACHE_NAMES = ("cache", "past_key_values")


def forward_of(module: nn.Module) -> Callable[..., Any]:
    """Return the forward of a module's class.

    Device placement and ``torch.compile`` put wrappers around the instance's, which take anything.
    """
    inner: Any = type(getattr(module, "_orig_mod", module))
    return inner.forward  # type: ignore[no-any-return]


class Parameters:
    """The positional parameters of a module's forward."""

    def __init__(self, module: nn.Module) -> None:
        positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = inspect.signature(forward_of(module)).parameters.values()
        self.names = [p.name for p in parameters if p.kind == positional][1:]

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name; the cache, where one was passed, as ``cache``."""
        call = {**dict(zip(self.names, args, strict=False)), **kwargs}
        # newer versions still take the older name from their callers
        passed = [call.pop(name) for name in CACHE_NAMES if name in call]
        return {**call, "cache": passed[0]} if passed else call

    def change(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], changes: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return args and kwargs with ``changes`` in the places of the old values."""
        positional = self.names[: len(args)]
        named = {name: value for name, value in changes.items() if name not in positional}
        new = tuple(changes.get(name, value) for name, value in zip(positional, args, strict=True))
        return new, {**kwargs, **named}


def with_cache(function: Callable[..., Any], cache: Any) -> dict[str, Any]:
    """Return the argument, by name, that hands ``cache`` to a function.

    Raises:
        TypeError: the function takes none.
    """
    name = cache_name(function)
    if name is None:
        raise TypeError(f"{function} takes no cache")
    return {name: cache}


@functools.cache
def cache_name(function: Callable[..., Any]) -> str | None:
    """Return what a function calls the cache that it takes; ``None`` if it takes none."""
    names = inspect.signature(function).parameters
    return next((name for name in CACHE_NAMES if name in names), None)
