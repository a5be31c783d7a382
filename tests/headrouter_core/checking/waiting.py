"""Sees operations that make the host wait for a device."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Watch(TorchDispatchMode):
    """Refuses every operation that waits for the device and notes the largest tensor made."""

    SYNCS = (
        "_local_scalar_dense",
        "nonzero",
        "item",
        "equal",
        "is_nonzero",
        "masked_select",
        "unique",
        "_unique2",
    )

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in self.SYNCS:
            raise AssertionError(f"{func} waits for the device")
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor) and not tensor._is_view():
                self.largest = max(self.largest, tensor.numel() * tensor.itemsize)
        return result
