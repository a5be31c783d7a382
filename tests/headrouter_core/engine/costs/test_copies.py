"""What is copied or pickled inside a context is whole, or it is refused."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import DynamicCache, StaticCache

from headrouter_core.errors import PruningError, UsageError
from headrouter_core.pruning.context import prune

from ...checking.guarded import ONE, fixture_model, hook_count
from ...checking.probes import Scattered
from ...tiny.families import decoder_layers
from ...tiny.models import batch

model = fixture_model
STEP = {"input_ids": torch.tensor([[5]])}


def saved(thing: Any) -> Any:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing)), saved]
)
CACHES = pytest.mark.parametrize(
    "make",
    [
        lambda model: DynamicCache(),
        lambda model: DynamicCache(config=model.config.get_text_config()),
        lambda model: StaticCache(model.config.get_text_config(), max_cache_len=60),
    ],
)


@COPIES
def test_models(model: Any, copied: Callable[[Any], Any]) -> None:
    hooks = hook_count(model)
    with torch.no_grad(), prune(model, Scattered(), 0.6):
        with pytest.raises(UsageError, match="cannot be copied or pickled while a context is open"):
            copied(model)
        with pytest.raises(UsageError, match="cannot be copied"):
            copied(decoder_layers(model)[3])
        copied(model.state_dict())
        model(**batch(ONE))
    whole = copied(model)
    assert hook_count(whole) == hooks
    with torch.no_grad():
        assert torch.equal(whole(**batch(ONE)).logits, model(**batch(ONE)).logits)


@CACHES
@COPIES
@torch.no_grad()
def test_caches(model: Any, make: Callable[[Any], Any], copied: Callable[[Any], Any]) -> None:
    with prune(model, Scattered(), 0.6):
        cache = model(**batch(ONE), past_key_values=make(model)).past_key_values
        inside = copied(cache)
        outside = copied(cache)
        wanted = model(**STEP, past_key_values=cache).logits
        assert type(inside) is type(cache)
        assert torch.equal(model(**STEP, past_key_values=inside).logits, wanted)
    with pytest.raises(PruningError, match="this cache was pruned"):
        model(**STEP, past_key_values=outside)
    with prune(model, Scattered(), 0.6):
        assert torch.equal(model(**STEP, past_key_values=outside).logits, wanted)
    outside.reset()
    assert type(outside) is type(make(model))
