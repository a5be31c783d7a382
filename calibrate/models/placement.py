"""Where a model runs and what it computes in: each choice with its reason."""

from __future__ import annotations

import torch

from headrouter_core.errors import UsageError

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def choose_device(name: str = "auto") -> tuple[torch.device, str]:
    """Return the device and why: ``auto`` is CUDA, else Apple's MPS, else the CPU.

    Raises:
        UsageError: not a device, or one that this torch does not see.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"the first CUDA GPU, {torch.cuda.get_device_name(0)}"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "an Apple GPU and no CUDA GPU"
        return torch.device("cpu"), f"torch {torch.__version__} sees no GPU"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"{name!r} is no device; say auto, cpu, cuda, cuda:1 or mps") from error
    _check_available(device)
    return device, "as asked"


def _check_available(device: torch.device) -> None:
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if device.type not in counts:
        raise UsageError(f"device {device} is not supported; say auto, cpu, cuda, cuda:1 or mps")
    if (device.index or 0) >= counts[device.type]:
        raise UsageError(
            f"device {device} is not there: torch {torch.__version__} sees"
            f" {counts[device.type]} of this kind; use --device cpu, or install a build of torch"
            " for it"
        )


def choose_dtype(name: str, device: torch.device) -> tuple[torch.dtype | None, str]:
    """Return the dtype and why; ``None`` stands for the checkpoint's own.

    Raises:
        UsageError: a dtype that is not known.
    """
    if name in DTYPES:
        return DTYPES[name], "as asked"
    if name != "auto":
        raise UsageError(f"dtype {name!r} is not known; say auto, {', '.join(DTYPES)}")
    if device.type == "cpu":
        return torch.float32, "exact, and on a CPU usually not slower than shorter ones"
    return None, "the checkpoint's own"
