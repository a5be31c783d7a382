"""What only a GPU can show: which kernels a pruned forward runs on, and layers on two of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from headrouter_core import families
from headrouter_core.families.discovery import find_decoder
from headrouter_core.pruning.context import prune

from ...checking.bundles import make_profile
from ...checking.exactness import TOLERANCE, generated, generated_error
from ...checking.masked import error
from ...checking.matrix import inputs
from ...checking.probes import Affinity, Scattered
from ...selectors.test_selector_contract import every_selector, make_selectors
from ...tiny.families import decoder_layers
from ...tiny.models import row, thinker

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
PROMPT = [row("system", 40, "question?")] * 2


@every_selector
@torch.no_grad()
def test_a_pruned_prefill_runs_on_torchs_flash_kernel(index: int) -> None:
    """It takes no mask, so none may be made where the unpruned model makes none."""
    model = thinker("sdpa")
    profile = make_profile(model=families.model_info(model, 2))
    model.to("cuda", torch.bfloat16)
    selector = make_selectors(profile, [40])[index]
    given = {"input_ids": torch.tensor(PROMPT, device="cuda")}
    shape = len(PROMPT), len(PROMPT[0]), 64
    generator = torch.Generator("cuda").manual_seed(0)
    embeds = torch.randn(shape, generator=generator, device="cuda", dtype=torch.bfloat16)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        model(**given, inputs_embeds=embeds)
        with prune(model, selector, 0.6, 2) as trace:
            model(**given, inputs_embeds=embeds)
    assert [len(entry.kept) for entry in trace] == [16, 16]


@torch.no_grad()
def test_a_gpu_keeps_what_a_cpu_keeps() -> None:
    """In float32, with the same logits but for rounding: the order of sums is the device's own."""
    given, found = inputs("qwen2_5_omni", "left"), []
    for device in ("cpu", "cuda"):
        model = thinker("sdpa").to(device)
        moved = {name: value.to(device) for name, value in given.items()}
        with prune(model, Scattered(), 0.6, 2) as trace:
            found.append((model(**moved).logits.cpu(), [entry.kept.cpu() for entry in trace]))
    (cpu, wanted), (gpu, kept) = found
    assert all(torch.equal(a, b) for a, b in zip(kept, wanted, strict=True))
    assert error(gpu, cpu) < 1e-3


def device_map(model: nn.Module, layer: int) -> dict[str, int]:
    """Return a map that puts layers from ``layer`` on, and all behind them, on the second GPU."""
    far = [*decoder_layers(model)[layer:], find_decoder(model).norm, model.lm_head]
    found: dict[str, int] = {}

    def walk(name: str, module: nn.Module) -> None:
        spread = any(part in far for part in module.modules())
        if module in far or not spread:
            found[name] = int(module in far)
            return
        for child, part in module.named_children():
            walk(f"{name}.{child}".lstrip("."), part)

    walk("", model)
    return found


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("layer", [1, 2, 3])  # at the probe layer, at M, behind it
def test_layers_on_two_gpus(layer: int) -> None:
    """As ``device_map`` does it, against one GPU."""
    accelerate = pytest.importorskip("accelerate")
    given: dict[str, Any] = {
        name: value.cuda() for name, value in inputs("qwen2_5_omni", "text row").items()
    }
    plain, spread = thinker("sdpa").cuda(), thinker("sdpa")
    accelerate.dispatch_model(spread, device_map(spread, layer))
    with prune(plain, Affinity(), 0.6, 2) as wanted_trace:
        wanted = generated(plain, given)
    with prune(spread, Affinity(), 0.6, 2) as trace:
        found = generated(spread, given)
    found.logits = [part.cuda(0) for part in found.logits]
    assert generated_error(found, wanted) < TOLERANCE
    for here, there in zip(trace, wanted_trace, strict=True):
        assert here.kept.device == torch.device("cuda", int(layer == 1))
        assert torch.equal(here.kept.cuda(0), there.kept)
