"""Reading and changing the arguments of a module call by name, however they were passed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn


class Parameters:
    """The positional parameters of a module's forward."""

    def __init__(self, module: nn.Module) -> None:
        # the class's: device placement and torch.compile put wrappers around the instance's
        inner: Any = type(getattr(module, "_orig_mod", module))
        positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = inspect.signature(inner.forward).parameters.values()
        self.names = [p.name for p in parameters if p.kind == positional][1:]

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name."""
        return {**dict(zip(self.names, args, strict=False)), **kwargs}

    def change(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], changes: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return args and kwargs with ``changes`` in the places of the old values."""
        positional = self.names[: len(args)]
        named = {name: value for name, value in changes.items() if name not in positional}
        new = tuple(changes.get(name, value) for name, value in zip(positional, args, strict=True))
        return new, {**kwargs, **named}
