"""Models spread over two devices, as ``device_map`` does it: see ``far``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from headrouter_core.families.discovery import find_decoder
from headrouter_core.pruning.context import prune
from headrouter_core.selectors import FastV

from ...checking.exactness import TOLERANCE, generated, generated_error
from ...checking.far import FAR, TwoDevices, near, place
from ...checking.matrix import inputs
from ...checking.probes import Affinity, Merging, Recorder
from ...tiny.families import decoder_layers
from ...tiny.models import thinker


def spread(layer: int) -> nn.Module:
    """Return a thinker whose layers from ``layer`` on are on the other device."""
    model = thinker("sdpa")
    for index, part in enumerate(decoder_layers(model)):
        place(part, far=index >= layer)
    for part in (find_decoder(model).norm, model.lm_head):
        place(part, far=True)
    return model


@pytest.mark.parametrize("layer", [1, 2, 3])  # at the probe layer, at M, behind it
@pytest.mark.parametrize("selector", [Affinity(), FastV(), Merging()], ids=lambda s: s.name)
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"use_cache": False}])
def test_layers_on_two_devices(layer: int, selector: Any, options: dict[str, Any]) -> None:
    given, model, plain = inputs("qwen2_5_omni", "text row"), spread(layer), thinker("sdpa")
    options = {"max_new_tokens": 4, **options}
    with prune(plain, selector, 0.6, 2) as wanted_trace:
        wanted = generated(plain, given, **options)
    with TwoDevices(), prune(model, selector, 0.6, 2) as trace:
        found = generated(model, given, **options)
    found.logits = [near(part) for part in found.logits]
    assert generated_error(found, wanted) < TOLERANCE
    for here, there in zip(trace, wanted_trace, strict=True):
        assert here.kept.device == (FAR if layer == 1 else torch.device("cpu"))
        assert torch.equal(near(here.kept), there.kept)


@torch.no_grad()
def test_views_are_where_the_selection_has_to_be() -> None:
    for layer, device in ((1, FAR), (2, torch.device("cpu"))):
        recorder, model = Recorder(), spread(layer)
        with TwoDevices(), prune(model, recorder, 0.6, 2):
            model(**inputs("qwen2_5_omni", "one"))
        (view,) = recorder.views
        shown = (
            view.queries,
            view.keys,
            view.rotated_keys,
            view.last_attention,
            view.hidden_states,
        )
        assert {part.device for part in shown} == {view.device} == {device}


def test_operations_on_both_devices_are_noticed() -> None:
    with TwoDevices():
        there = torch.arange(3, device=FAR)
        for mixed in (lambda: there + torch.arange(3), lambda: torch.arange(3)[there]):
            with pytest.raises(RuntimeError, match="on two devices"):
                mixed()
        assert near(there[torch.tensor([2, 0])]).tolist() == [2, 0]
        assert near(there + torch.tensor(1)).tolist() == [1, 2, 3]
        assert there.to("cpu").tolist() == [0, 1, 2]
