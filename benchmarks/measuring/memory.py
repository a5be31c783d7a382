"""How much memory tensors take at most while something runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: How :func:`peak_bytes` counts, by type of device.
METHODS = {
    "cuda": "torch.cuda.max_memory_allocated, less what was allocated before the run",
    "cpu": (
        "bytes of the tensors that live at once, counted by a dispatch mode in a run that is not"
        " timed; what kernels use inside themselves is not in it"
    ),
}


def peak_bytes(device: torch.device, run: Callable[[], object]) -> int | None:
    """Return how much more memory ``run`` takes at its peak than is taken before it.

    ``None`` where there is no way to tell (MPS).
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before: int = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        most: int = torch.cuda.max_memory_allocated(device)
        return most - before
    if device.type == "cpu":
        with LiveBytes() as live:
            run()
        peak: int = live.peak
        return peak
    return None


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, for as long as they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and take note of the memory that it returns."""
        result = func(*args, **(kwargs or {}))
        given = {_address(tensor) for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(result):
            if _address(tensor) not in given:
                # two results of one operation may share a storage: noted once
                given.add(_address(tensor))
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.now -= size


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _address(tensor: torch.Tensor) -> int:
    # of the storage, not of its bytes: on the meta device there are none
    return int(tensor.untyped_storage()._cdata)
