"""What queries are seen to attend to, against what eager attention puts out."""

from __future__ import annotations

import pytest
import torch

from headrouter_core.eviction.methods.base import Need
from headrouter_core.eviction.observing import observing
from headrouter_core.eviction.watching import Watch

from ..tiny.models import batch, row, thinker


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("need", "window"), [(Need.WINDOW, 5), (Need.EVERY, 5)])
@torch.no_grad()
def test_attention_is_that_of_the_last_or_of_all_real_queries(
    side: str, need: Need, window: int
) -> None:
    given = batch([row("system", 20, "question?"), row("s", 9, "why")], side)
    with observing(thinker("sdpa")) as observer:
        seen = observer.run(given, Watch(need, window)).seen
    wanted = thinker("eager")(**given, output_attentions=True).attentions
    for layer, whole in zip(seen, wanted, strict=True):
        assert layer.attention is not None
        for index, mask in enumerate(given["attention_mask"].bool()):
            assert layer.real[index].equal(mask)
            (asking,) = mask.nonzero(as_tuple=True)
            asking = asking if need is Need.EVERY else asking[-window:]
            mean = whole[index][:, asking].mean(1).unflatten(0, (2, -1)).mean(1)
            found = layer.attention[0][index]
            torch.testing.assert_close(found[:, mask], mean[:, mask])
            assert not found[:, ~mask].any()


def test_no_need_no_attention() -> None:
    given = batch([row("s", 9, "why")])
    with observing(thinker("sdpa")) as observer:
        seen = observer.run(given, Watch(Need.NOTHING, 5)).seen
    assert all(layer.attention is None for layer in seen)
