"""What pruning may not cost: waiting for the device, projecting twice, work in decoding steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from headrouter_core import families
from headrouter_core.pruning.context import prune
from headrouter_core.selectors.base import Need, Selection, View

from ...checking.bundles import make_profile
from ...checking.probes import Affinity, Scattered
from ...selectors.test_selector_contract import every_selector, make_selectors
from ...tiny.families import decoder_layers
from ...tiny.models import batch, row, thinker

PROMPT = [row("system", 40, "question?")]
LENGTH = len(PROMPT[0])


class Reached(Exception):
    """The logits are made."""


class Copies(TorchDispatchMode):
    """Refuses copies to a device that the host waits for, and counts all."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is torch.ops.aten._to_copy.default:
            self._look(args[0], result, bool(kwargs.get("non_blocking")))
        elif func is torch.ops.aten.copy_.default:
            self._look(args[1], result, len(args) > 2 and args[2])
        return result

    def _look(self, source: torch.Tensor, copy: torch.Tensor, non_blocking: bool) -> None:
        if source.device.type != self._device and copy.device.type == self._device:
            self.seen += 1
            if not non_blocking:
                raise AssertionError(f"the host waits for a copy of {tuple(source.shape)}")


def meta_inputs(device: str) -> dict[str, torch.Tensor]:
    """Return inputs whose ids are on the host while all that is computed is on a device.

    One row without padding: with some, transformers itself looks whether a mask can be left out.
    """
    return {
        "input_ids": torch.tensor(PROMPT),
        "inputs_embeds": torch.zeros(1, LENGTH, 64, device=device),
        "position_ids": torch.arange(LENGTH, device=device).expand(3, 1, -1),
    }


@pytest.fixture(scope="module")
def model() -> Any:
    return thinker("sdpa")


@pytest.fixture(scope="module")
def hollow() -> Iterator[Any]:
    """Give a thinker without values: whatever reads one on the host fails.

    It stops when its logits are made, as behind them the engine does wait: to check what a selector
    returned before an answer leaves.
    """
    hollow = thinker("sdpa").to("meta")

    def stop(*_: Any) -> None:
        raise Reached

    hollow.lm_head.register_forward_hook(stop)
    return hollow


@pytest.mark.filterwarnings("ignore:the weights cannot be compared")
@every_selector
def test_nothing_waits_for_the_device_before_the_logits(
    index: int, model: Any, hollow: Any
) -> None:
    profile = make_profile(model=families.model_info(model, 2))
    selector = make_selectors(profile, [40])[index]
    opened = prune(hollow, selector, 0.6, 2, force=True)
    with pytest.raises(Reached), Copies("meta") as copies, opened:
        hollow(**meta_inputs("meta"))
    assert copies.seen


@dataclass(frozen=True)
class Peeking(Scattered):
    """Looks at a value on the host."""

    needs: ClassVar[Need] = Need.QUERIES_KEYS

    def __call__(self, view: View, k: int) -> Selection:
        assert view.keys is not None
        assert view.keys.isfinite().all()
        return super().__call__(view, k)


@dataclass(frozen=True)
class Copying(Scattered):
    """Copies its choice to the device and waits for it."""

    def __call__(self, view: View, k: int) -> Selection:
        return Selection(super().__call__(view, k).kept.to(view.device))


def test_waiting_is_noticed(hollow: Any) -> None:
    with pytest.raises(RuntimeError, match="meta"), prune(hollow, Peeking(), 0.6, 2):
        hollow(**meta_inputs("meta"))
    opened = prune(hollow, Copying(), 0.6, 2)
    with pytest.raises(AssertionError, match="waits"), Copies("meta"), opened:
        hollow(**meta_inputs("meta"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_selector
@torch.no_grad()
def test_nothing_waits_for_a_gpu_before_the_logits(index: int) -> None:
    model = thinker("sdpa").to("cuda")
    profile = make_profile(model=families.model_info(model, 2))
    selector = make_selectors(profile, [40])[index]
    inputs = meta_inputs("cuda")

    def strict(*_: Any) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def lenient(*_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")

    layers = decoder_layers(model)
    layers[0].register_forward_pre_hook(strict)
    model.lm_head.register_forward_hook(lenient)
    try:
        with prune(model, selector, 0.6, 2) as trace:
            model(**inputs)
    finally:
        lenient()
    assert len(trace[0].kept) == 16


@contextmanager
def counted(model: nn.Module) -> Iterator[Counter[str]]:
    """Count calls of all modules by name."""
    calls: Counter[str] = Counter()
    handles = [
        part.register_forward_hook(lambda *_, name=name: calls.update([name]))
        for name, part in model.named_modules()
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@every_selector
@torch.no_grad()
def test_a_prefill_calls_every_module_once(index: int, model: Any) -> None:
    profile = make_profile(model=families.model_info(model, 2))
    selector = make_selectors(profile, [40])[index]
    inputs = batch(PROMPT)
    with counted(model) as unpruned:
        model(**inputs)
    with prune(model, selector, 0.6, 2), counted(model) as pruned:
        model(**inputs)
    projections = {n: c for n, c in pruned.items() if n.endswith(("q_proj", "k_proj"))}
    assert set(projections.values()) == {1}
    assert len(projections) == 2 * (6 + 1)  # decoder layers and the audio tower's
    assert pruned == unpruned


class Operations(TorchDispatchMode):
    """Counts operations on tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.update([str(func)])
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def step_of(model: Any, rows: list[list[int]]) -> tuple[Counter[str], Counter[str]]:
    """Return the module calls and the operations of a decoding step behind a prefill."""
    inputs = batch(rows)
    cache = model(**inputs, use_cache=True).past_key_values
    mask = inputs["attention_mask"]
    padded = bool((mask == 0).any())
    step = {
        "input_ids": torch.full((len(rows), 1), 5),
        "position_ids": mask.sum(1)[None, :, None].expand(3, -1, -1),
        "attention_mask": torch.nn.functional.pad(mask, (0, 1), value=1) if padded else None,
    }
    with counted(model) as calls, Operations() as operations:
        model(**step, past_key_values=cache, use_cache=True)
    return calls, operations.seen


def test_a_decoding_step_does_what_an_unpruned_one_does(model: Any) -> None:
    calls, operations = step_of(model, PROMPT)
    with prune(model, Affinity(), 0.6, 2):
        pruned_calls, pruned_operations = step_of(model, PROMPT)
    assert pruned_calls == calls
    # the mask function is shown the shape of its queries, and finds that there is nothing to mask
    assert pruned_operations - operations == Counter({"aten.new_empty.default": 1})
    assert not operations - pruned_operations


def test_a_padded_decoding_step_makes_one_mask_for_all_layers() -> None:
    rows = [*PROMPT, row("s", 9, "why")]
    more = {}
    for depth in (4, 8):
        model = thinker("sdpa", num_hidden_layers=depth)
        calls, operations = step_of(model, rows)
        with prune(model, Affinity(), 0.6, 2):
            pruned_calls, pruned_operations = step_of(model, rows)
        assert pruned_calls == calls
        more[depth] = pruned_operations - operations
    assert more[4] == more[8]
    assert more[4].total() < 40
