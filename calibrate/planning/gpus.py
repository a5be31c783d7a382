"""What GPUs can do by their makers' data sheets, and how much of that is assumed."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass

from headrouter_core.errors import UsageError

#: Share of the data sheet's peak that a prefill is taken to reach. Large products reach half of it
#: and more; what stands between them (norms, rotary encoding, softmax) brings the whole down.
UTILISATION = 0.4


@dataclass(frozen=True)
class Gpu:
    """A GPU in numbers."""

    name: str
    tflops: float
    """Dense 16-bit products, accumulated in float32, 1e12 operations a second."""
    gigabytes: float | None
    """Memory, 1e9 bytes; ``None`` where only the rate is known."""
    source: str

    def hours(self, flops: float) -> float:
        """Return how long so many operations take at :data:`UTILISATION`, in hours."""
        return flops / (self.tflops * 1e12 * UTILISATION) / 3600


#: Without sparsity: data sheets that state the rate with sparsity are halved. Written down from
#: memory of these sheets; ``--tflops`` is there for who has one at hand.
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("b200", 2250, 180, "NVIDIA HGX B200 data sheet, one GPU"),
        Gpu("h200", 989, 141, "NVIDIA H200 data sheet, SXM"),
        Gpu("h100", 989, 80, "NVIDIA H100 data sheet, SXM5"),
        Gpu("a100", 312, 80, "NVIDIA A100 80GB data sheet"),
        Gpu("l40s", 362, 48, "NVIDIA L40S data sheet"),
        Gpu("l4", 121, 24, "NVIDIA L4 data sheet"),
        Gpu("a10", 125, 24, "NVIDIA A10 data sheet"),
        Gpu("rtx4090", 165, 24, "NVIDIA Ada GPU architecture white paper"),
        Gpu("t4", 65, 16, "NVIDIA T4 data sheet; float16, it has no bfloat16"),
    )
}


def find_gpu(name: str | None, tflops: float | None) -> Gpu | None:
    """Return the GPU that ``--gpu`` or ``--tflops`` names; ``None`` where neither is given.

    Raises:
        UsageError: an unknown name, no positive rate, or both.
    """
    if name is not None and tflops is not None:
        raise UsageError("--gpu and --tflops both name a rate; give one of them")
    if tflops is not None:
        if not (math.isfinite(tflops) and tflops > 0):
            raise UsageError(f"--tflops is {tflops:g}; give 1e12 operations a second, more than 0")
        return Gpu(f"{tflops:g} TFLOP/s", tflops, None, "as asked")
    if name is None:
        return None
    known = name.lower().replace(" ", "").replace("-", "")
    if known not in GPUS:
        close = difflib.get_close_matches(known, GPUS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise UsageError(
            f"--gpu {name!r} is not known.{hint} Known are {', '.join(GPUS)}; or give its rate:"
            " --tflops N"
        )
    return GPUS[known]
