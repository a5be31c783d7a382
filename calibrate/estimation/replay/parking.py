"""Where prefixes lie while nobody asks: in main memory up to a budget, and beyond it on disk.

The device then holds one sample's at a time. What is on disk is in a file without a name, which the
system takes back with the process, however that ends.
"""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from headrouter_core.errors import HeadRouterError

#: What to put in the place of a part.
Change = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class _OnDisk:
    """A tensor in the file."""

    offset: int
    shape: torch.Size
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class _Away:
    """A tensor that is not where it belongs."""

    device: torch.device
    place: torch.Tensor | _OnDisk


@dataclass(eq=False)
class Parking:
    """Values that hold tensors, by name, off the device."""

    budget: int
    """Bytes that main memory may hold."""
    folder: Path
    """Where what is more than that is written."""
    used: int = field(default=0, init=False)
    """Bytes that main memory holds."""
    _values: dict[str, Any] = field(default_factory=dict, init=False)
    _file: IO[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Parking:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def park(self, name: str, value: Any) -> None:
        """Put a value away: any nesting of tensors, dataclasses, mappings, tuples and lists.

        Raises:
            HeadRouterError: the disk does not take it.
        """
        size = _size(value)
        if self.used + size <= self.budget:
            self.used += size
            store: Change = _tight
        else:
            store = self._write
        away = with_tensors(value, lambda tensor: _Away(tensor.device, store(tensor)))
        self._values[name] = away

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def fetch(self, name: str) -> Any:
        """Return a value with its tensors on the devices that they were on; it stays here too."""
        return _changed(self._values[name], _Away, self._back)

    def clear(self) -> None:
        """Forget everything, in memory and on disk."""
        self._values.clear()
        self.used = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, tensor: torch.Tensor) -> _OnDisk:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115
            offset = self._file.seek(0, 2)
            rest = _bytes(tensor.cpu().contiguous())
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise HeadRouterError(
                f"cannot park a sample in {self.folder}: {error.strerror or error}; raise --memory,"
                " or give an --output where there is more room"
            ) from error
        return _OnDisk(offset, tensor.shape, tensor.dtype)

    def _back(self, away: _Away) -> torch.Tensor:
        if isinstance(away.place, torch.Tensor):
            return away.place.to(away.device)
        assert self._file is not None
        tensor = torch.empty(away.place.shape, dtype=away.place.dtype)
        rest = _bytes(tensor)
        self._file.seek(away.place.offset)
        while rest:
            count = self._file.readinto(rest)  # type: ignore[attr-defined]  # it is unbuffered
            if not count:
                raise HeadRouterError(f"what was parked in {self.folder} is not there any more")
            rest = rest[count:]
        return tensor.to(away.device)


def with_tensors(value: Any, change: Change) -> Any:
    """Return a nesting with something in the place of each tensor; what stands twice still does."""
    return _changed(value, torch.Tensor, change)


def settled(value: Any) -> Any:
    """Return a nesting with its tensors as they come back from any place: whole, and in order.

    Sums over them are then the same to the last bit wherever they have been.
    """
    return with_tensors(value, lambda tensor: tensor.contiguous())


def _changed(value: Any, kind: type, change: Change, done: dict[int, Any] | None = None) -> Any:
    done = {} if done is None else done
    if id(value) not in done:  # layers share arguments, and mappings that they write into
        done[id(value)] = _change(value, kind, change, done)
    return done[id(value)]


def _change(value: Any, kind: type, change: Change, done: dict[int, Any]) -> Any:
    def inside(part: Any) -> Any:
        return _changed(part, kind, change, done)

    if isinstance(value, kind):
        return change(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shell = object.__new__(type(value))  # unchecked: what is away is no tensor
        for each in dataclasses.fields(value):
            object.__setattr__(shell, each.name, inside(getattr(value, each.name)))
        return shell
    if isinstance(value, MutableMapping):
        same = copy.copy(value)
        for name, part in value.items():
            same[name] = inside(part)
        return same
    if isinstance(value, Mapping):
        return {name: inside(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        parts = map(inside, value)
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _size(value: Any) -> int:
    sizes: list[int] = []
    with_tensors(value, lambda tensor: sizes.append(tensor.nbytes))
    return sum(sizes)


def _tight(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor in main memory, without what it may be a part of."""
    tensor = tensor.cpu()
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


def _bytes(tensor: torch.Tensor) -> memoryview:
    numbers: np.ndarray = tensor.detach().reshape(-1).view(torch.uint8).numpy()
    return numbers.data
