"""Models whose parts are not the plain ones: adapters, quantised layers, offloaded weights, halves.

Each equals its own masked reference, or differs from it by what its arithmetic rounds.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from headrouter_core import families
from headrouter_core.pruning.context import prune
from headrouter_core.selectors import HeadRouter

from ...checking.bundles import make_profile
from ...checking.exactness import (
    TOLERANCE,
    Inputs,
    Logits,
    generated_error,
    kept_by_scattered,
    masked_generation,
    masked_logits,
    omni_step,
    pruned_generation,
    pruned_logits,
)
from ...checking.guarded import hook_count
from ...checking.masked import error
from ...checking.matrix import inputs, step_of, tiny
from ...checking.probes import Affinity, Recorder, Scattered
from ...tiny.families import decoder_layers, twin
from ...tiny.models import thinker

TEXT_ROW: Inputs = inputs("qwen2_5_omni", "text row")


def pruned_and_masked(sdpa: nn.Module, eager: nn.Module, given: Inputs) -> tuple[Logits, Logits]:
    """Return what a model gives when pruned, and what its eager copy gives when masked."""
    found, kept = pruned_logits(sdpa, given, Scattered(), 0.6, 2, omni_step)
    return found, masked_logits(eager, decoder_layers(eager), given, kept, 2, omni_step)


# --- adapters


def adapted(name: str) -> tuple[Any, Any, Any]:
    """Return a model with LoRA in its projections, as sdpa, eager, and merged into the weights."""
    peft = pytest.importorskip("peft")
    targets = ["qkv_proj"] if name == "phi4_multimodal" else ["q_proj", "k_proj", "v_proj"]
    # not initialised as usual, where the second factor is zero and nothing would be adapted
    config = peft.LoraConfig(r=4, target_modules=targets, init_lora_weights=False)
    torch.manual_seed(0)
    sdpa = peft.get_peft_model(copy.deepcopy(tiny(name, "sdpa")), config).eval()
    return sdpa, twin(sdpa, "eager"), copy.deepcopy(sdpa).merge_and_unload()


@pytest.mark.parametrize("name", ["qwen2_5_omni", "phi4_multimodal", "granite_speech"])
@torch.no_grad()
def test_lora(name: str) -> None:
    sdpa, eager, whole = adapted(name)
    given, layers = inputs(name, "text row"), decoder_layers(eager)
    step, kept = step_of(name), kept_by_scattered(inputs(name, "text row"), 0.6)
    found, _ = pruned_logits(sdpa, given, Scattered(), 0.6, 2, step)
    assert found.error(masked_logits(eager, layers, given, kept, 2, step)) < TOLERANCE
    found, _ = pruned_generation(sdpa, given, Scattered(), 0.6, 2)
    assert generated_error(found, masked_generation(eager, layers, given, kept, 2)) < TOLERANCE

    views = {}
    for of, what in ((sdpa, "adapted"), (whole, "merged"), (tiny(name, "sdpa"), "plain")):
        recorder = Recorder()
        with prune(of, recorder, 0.6, 2):
            of(**given)
        views[what] = recorder.views[0]
    # the probe sees what the adapter makes of queries and keys
    assert error(views["adapted"].queries, views["merged"].queries) < TOLERANCE
    assert error(views["adapted"].keys, views["merged"].keys) < TOLERANCE
    assert error(views["adapted"].queries, views["plain"].queries) > 0.01
    # and a fingerprint of the weights below it would not
    assert families.model_info(sdpa, 2).fingerprint is None
    assert families.model_info(whole, 2).fingerprint is not None


# --- quantised layers


class Int8Linear(nn.Module):
    """A linear layer whose weight is packed, as weight-only quantisation does it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("scale", linear.weight.detach().abs().amax(1, keepdim=True) / 127)
        packed = (linear.weight.detach() / self.scale).round().to(torch.int8).flatten()
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = linear.bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        weight = self.weight.view(self.out_features, -1) * self.scale
        return nn.functional.linear(states, weight, self.bias)


def quantised(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    for layer in decoder_layers(model):
        for name, part in list(layer.named_modules()):
            if isinstance(part, nn.Linear):
                layer.set_submodule(name, Int8Linear(part))
    return model


@torch.no_grad()
def test_packed_weights() -> None:
    sdpa, eager = quantised(thinker("sdpa")), quantised(thinker("eager"))
    assert error(sdpa(**TEXT_ROW).logits, thinker("sdpa")(**TEXT_ROW).logits) > 1e-3
    found, wanted = pruned_and_masked(sdpa, eager, TEXT_ROW)
    assert found.error(wanted) < TOLERANCE
    assert families.model_info(sdpa, 2).fingerprint is None
    profile = make_profile(model=families.model_info(thinker("sdpa"), 2))
    with (
        pytest.warns(UserWarning, match="cannot be compared"),
        prune(sdpa, HeadRouter(profile), 0.6),
    ):
        sdpa(**TEXT_ROW)


@torch.no_grad()
def test_scales_that_depend_on_the_whole_batch() -> None:
    """Dynamic quantisation scales by the largest activation, of dropped tokens and padding too."""
    sdpa, eager = (
        torch.ao.quantization.quantize_dynamic(thinker(kind), {nn.Linear}, dtype=torch.qint8)
        for kind in ("sdpa", "eager")
    )
    found, wanted = pruned_and_masked(sdpa, eager, TEXT_ROW)
    assert families.model_info(sdpa, 2).fingerprint is None
    assert TOLERANCE < found.error(wanted) < 0.1


# --- weights elsewhere


@torch.no_grad()
def test_weights_on_disk(tmp_path: Path) -> None:
    """As device_map leaves them where memory is short: loaded for each forward, gone after it."""
    accelerate = pytest.importorskip("accelerate")
    model = thinker("sdpa")
    profile = make_profile(model=families.model_info(model, 2))
    with prune(model, HeadRouter(profile), 0.6):
        wanted = model(**TEXT_ROW).logits
    accelerate.disk_offload(model, tmp_path, execution_device="cpu")
    assert decoder_layers(model)[0].self_attn.q_proj.weight.is_meta
    hooks = hook_count(model)
    with (
        pytest.warns(UserWarning, match="weights cannot be compared"),
        prune(model, HeadRouter(profile), 0.6),
    ):
        found = model(**TEXT_ROW).logits
    assert torch.equal(found, wanted)
    assert hook_count(model) == hooks
    found, wanted = pruned_and_masked(model, thinker("eager"), TEXT_ROW)
    assert found.error(wanted) < TOLERANCE


# --- precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_loses_no_more_than_it_does_unpruned(dtype: torch.dtype) -> None:
    half = {**TEXT_ROW, "input_features": TEXT_ROW["input_features"].to(dtype)}
    found, wanted = pruned_and_masked(thinker("sdpa").to(dtype), thinker("eager").to(dtype), half)
    _, exact = pruned_and_masked(thinker("sdpa"), thinker("eager"), TEXT_ROW)
    assert found.error(exact) < 2 * wanted.error(exact)


@torch.no_grad()
def test_autocast() -> None:
    model = thinker("sdpa")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = model(**TEXT_ROW).logits
        with prune(model, Recorder(), 0):
            assert torch.equal(model(**TEXT_ROW).logits, plain)
        with prune(model, Affinity(), 0.6) as trace:
            assert model(**TEXT_ROW).logits.isfinite().all()
    assert [len(entry.kept) for entry in trace] == [8, 0, 3]
