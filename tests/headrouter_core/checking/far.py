"""A second device without one: tensors that say they are elsewhere, with their values on the CPU.

As on a GPU, an operation that mixes devices raises, save for indices and scalars on the CPU. Only
what the tests need is imitated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

#: What far tensors call their device: one whose name torch takes without a driver.
FAR = torch.device("meta")
_HOST = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default}
_INDEXING = {
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
}


class Far(torch.Tensor):
    """A tensor on the other device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Far:
        far = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=FAR
        )
        far.held = held
        return far

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class TwoDevices(TorchDispatchMode):
    """While open, tensors can be made on the other device too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on the values, and put its result where it belongs."""
    binding = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if func in _INDEXING:
        stay = {id(index) for index in args[1] if index is not None and not _is_far(index)}
        binding = [tensor for tensor in binding if id(tensor) not in stay]
    moving = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    if not moving and len({_is_far(tensor) for tensor in binding if tensor.ndim}) > 1:
        raise RuntimeError(f"{func} on two devices: {[tuple(t.shape) for t in binding]}")
    far = any(map(_is_far, binding[:1] if moving else binding))
    if kwargs.get("device") is not None:
        far = torch.device(kwargs["device"]) == FAR
        kwargs = {**kwargs, "device": torch.device("cpu")}
    values, named = tree_map(_values, (args, kwargs))
    out = func(*values, **named)
    if not far or func in _HOST:
        return out
    if func._schema.name.endswith("_"):  # in place
        return args[0]
    return tree_map(_away, out)


def _is_far(tensor: torch.Tensor) -> bool:
    return tensor.device == FAR


def _values(leaf: Any) -> Any:
    """Return the values of a far tensor. Empty ones are torch's own: there is nothing to hold."""
    if isinstance(leaf, Far):
        return leaf.held
    if isinstance(leaf, torch.Tensor) and leaf.is_meta:
        assert not leaf.numel()
        return torch.empty(leaf.shape, dtype=leaf.dtype)
    return leaf


def near(leaf: Any) -> Any:
    """Return a tensor on the CPU; anything else as it is."""
    return leaf.held if isinstance(leaf, Far) else leaf


def _away(leaf: Any) -> Any:
    return Far(leaf) if isinstance(leaf, torch.Tensor) and not isinstance(leaf, Far) else leaf


def place(module: nn.Module, *, far: bool) -> None:
    """Put a module on a device, and what it is called with too, as accelerate does it."""
    if far:
        for part in module.modules():
            for name, parameter in list(part.named_parameters(recurse=False)):
                setattr(part, name, nn.Parameter(Far(parameter.detach()), requires_grad=False))
            for name, buffer in list(part.named_buffers(recurse=False)):
                setattr(part, name, Far(buffer))
    module.forward = _moved(module.forward, _away if far else near)


def _moved(forward: Callable[..., Any], move: Callable[[Any], Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def moved(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map(move, (args, kwargs))
        return forward(*args, **kwargs)

    return moved
