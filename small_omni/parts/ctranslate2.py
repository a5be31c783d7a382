"""Read the ``model.bin`` of CTranslate2: variable name -> array."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_VERSION = 6


def read(data: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """Return the name of the model's specification and its variables, aliases included.

    Raises ``ValueError`` for another version of the format, an unknown number type, and a file that
    ends early or goes on behind its end.
    """
    reader = _Reader(data)
    version = reader.number("I")
    if version != _VERSION:
        raise ValueError(f"version {version} of CTranslate2's format is not known; {_VERSION} is")
    specification = reader.string()
    reader.number("I")  # the specification's revision
    variables = {}
    for _ in range(reader.number("I")):
        name = reader.string()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind = reader.number("B")
        if kind not in _TYPES:
            raise ValueError(f"{name} is of type {kind}; known are {', '.join(map(str, _TYPES))}")
        values = np.frombuffer(reader.take(reader.number("I")), _TYPES[kind])
        variables[name] = values.reshape(shape)
    for _ in range(reader.number("I")):
        alias = reader.string()
        variables[alias] = variables[reader.string()]
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes are left behind the model's end")
    return specification, variables


class _Reader:
    """A place in the bytes that moves on with every read."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self._data):
            raise ValueError("the model ends early: is a part missing?")
        self.at += size
        return self._data[self.at - size : self.at]

    def number(self, kind: str) -> Any:
        return struct.unpack("<" + kind, self.take(struct.calcsize("<" + kind)))[0]

    def string(self) -> str:
        """Length-prefixed, and ended by a zero that the length counts."""
        return self.take(self.number("H")).rstrip(b"\0").decode()
