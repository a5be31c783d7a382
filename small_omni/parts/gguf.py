"""Read a GGUF file: its metadata, and its tensors in float32.

Three of its number formats are enough here: F32, Q8_0 and Q4_1. The format is described in
ggml's ``docs/gguf.md``; blocks are those of ``ggml-common.h``.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
#: Elements that share one scale.
_BLOCK = 32
_F32, _Q4_1, _Q8_0 = 0, 3, 8
_BLOCKS = {
    _F32: np.dtype("<f4"),
    _Q4_1: np.dtype([("scale", "<f2"), ("least", "<f2"), ("pairs", "u1", _BLOCK // 2)]),
    _Q8_0: np.dtype([("scale", "<f2"), ("values", "i1", _BLOCK)]),
}


class GGUF:
    """A GGUF file in memory.

    Raises ``ValueError`` where it is no GGUF file of version 2 or 3.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        if data[:4] != b"GGUF":
            raise ValueError(f"not a GGUF file: it begins with {data[:4]!r}")
        self._at = 4
        version, tensors, entries = self._scalars("IQQ")
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version} is not known; 2 and 3 are")
        self.metadata: dict[str, Any] = {}
        for _ in range(entries):
            key = self._string()
            self.metadata[key] = self._value(self._scalars("I")[0])
        self._tensors: dict[str, tuple[int, tuple[int, ...], int]] = {}
        for _ in range(tensors):
            name = self._string()
            (rank,) = self._scalars("I")
            shape = self._scalars(f"{rank}Q")[::-1]  # the file has the fastest dimension first
            kind, offset = self._scalars("IQ")
            self._tensors[name] = (kind, shape, offset)
        alignment = self.metadata.get("general.alignment", 32)
        self._start = -(-self._at // alignment) * alignment

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors' names."""
        return tuple(self._tensors)

    def tensor(self, name: str) -> np.ndarray:
        """One tensor in float32.

        Raises ``KeyError`` for an unknown name and ``ValueError`` for an unknown number format.
        """
        kind, shape, offset = self._tensors[name]
        if kind not in _BLOCKS:
            raise ValueError(f"{name} is of ggml type {kind}; known are F32, Q4_1 and Q8_0")
        size = int(np.prod(shape))
        count = size if kind == _F32 else size // _BLOCK
        blocks = np.frombuffer(self._data, _BLOCKS[kind], count, self._start + offset)
        return _dequantised(kind, blocks).reshape(shape)

    def _scalars(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self._data, self._at)
        self._at += struct.calcsize("<" + layout)
        return values

    def _string(self) -> str:
        (size,) = self._scalars("Q")
        self._at += size
        return self._data[self._at - size : self._at].decode()

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            of, size = self._scalars("IQ")
            if of in _SCALARS:
                return list(self._scalars(f"{size}{_SCALARS[of]}"))
            return [self._value(of) for _ in range(size)]
        if kind not in _SCALARS:
            raise ValueError(f"metadata of type {kind} is not known")
        return self._scalars(_SCALARS[kind])[0]


def _dequantised(kind: int, blocks: np.ndarray) -> np.ndarray:
    """Blocks [n] of one number format -> float32, 32 elements a block."""
    if kind == _F32:
        return blocks.copy()
    scale = blocks["scale"].astype(np.float32)[:, None]
    if kind == _Q8_0:
        return scale * blocks["values"].astype(np.float32)
    # the low halves of the bytes are elements 0 to 15, the high halves 16 to 31
    pairs = blocks["pairs"]
    values = np.concatenate([pairs & 15, pairs >> 4], axis=1).astype(np.float32)
    return scale * values + blocks["least"].astype(np.float32)[:, None]
