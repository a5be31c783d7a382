"""The machine and the libraries that numbers belong to."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from headrouter_core import __version__


def environment(device: torch.device) -> dict[str, Any]:
    """Return what a reader has to know before the numbers, JSON-ready."""
    cuda = device.type == "cuda"
    return {
        "device": _name(device),
        "devices": torch.cuda.device_count() if cuda else 1,
        "memory_bytes": torch.cuda.get_device_properties(device).total_memory if cuda else None,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "headrouter": __version__,
        **{name: metadata.version(name) for name in ("torch", "transformers")},
    }


def _name(device: torch.device) -> str:
    """Return what a device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return f"{device.type} of {platform.machine()}"
