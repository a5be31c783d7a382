"""Operations and bytes against what torch counts in real runs of tiny models of every family."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import footprint
from benchmarks.measuring.bench import last_logits
from benchmarks.subjects.models import random_thinker
from benchmarks.subjects.shapes import SHAPES
from calibrate.planning.costs import Costs
from calibrate.planning.encoder import Encoder
from headrouter_core import Frame, families, prune
from tests.headrouter_core.tiny import families as tiny_families
from tests.headrouter_core.tiny import models as tiny_models
from tests.headrouter_core.tiny.models import AUDIO

TEXT, TOKENS, KEPT, LAYER = 10, 30, 15, 2
#: Where the count is not exact: Gemma 3n merges several states a token beside its layers, and masks
#: of pruned sliding windows are made by a product.
TOLERANCES = {"gemma3n": 0.03, "gemma4_unified": 0.01}
#: Rotary phases, which older transformers make by a product; the newest count is equal.
ROTARY = 2e-4


def costs_of(model):
    return Costs.of(SimpleNamespace(anatomy=families.locate(model), dtype=torch.float32))


def counted(model, costs, pruned):
    """Return the operations of one prefill, and the bytes of its cache."""
    ids = torch.tensor([[5, 6, 7, 8, *[AUDIO] * TOKENS, 9, 10, 11, 12, 13, 14]])
    last = {} if costs.all_logits else {"logits_to_keep": 1}
    way = prune(model, Frame(), 0.5, LAYER) if pruned else contextlib.nullcontext()
    with torch.no_grad(), way, FlopCounterMode(display=False) as counter:
        cache = model(input_ids=ids, use_cache=True, **last).past_key_values
    parts = [part for layer in cache.layers for part in (layer.keys, layer.values)]
    return counter.get_total_flops(), sum(part.nbytes for part in parts if part is not None)


@pytest.mark.parametrize("name", tiny_families.BUILDERS)
def test_operations_and_cache_are_those_of_real_runs(name):
    model = tiny_families.build(name)
    costs = costs_of(model)
    model = tiny_families.with_audio(model)
    for pruned, kept in ((False, TOKENS), (True, KEPT)):
        columns = costs.columns(TEXT + TOKENS, TEXT + kept, LAYER)
        flops, cache = counted(model, costs, pruned)
        assert costs.flops(columns) == pytest.approx(flops, rel=TOLERANCES.get(name, ROTARY))
        assert costs.cache_bytes(columns) == cache


def test_operations_of_qwen2_5_omni_and_of_its_encoder():
    model = tiny_models.thinker("eager")
    costs = costs_of(model)
    inputs = tiny_models.batch([tiny_models.row("abcd", 100, "efghij")])
    length = inputs["input_ids"].shape[1]
    extractor = SimpleNamespace(hop_length=160)
    frontend = SimpleNamespace(extractor=extractor, sample_rate=16_000)
    encoder = Encoder.of(SimpleNamespace(anatomy=families.locate(model), frontend=frontend))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    found = counter.get_flop_counts()
    (tower,) = [sum(flops.values()) for name, flops in found.items() if name.endswith("tower")]
    decoder = counter.get_total_flops() - tower
    assert costs.flops([length] * len(costs.layers)) == pytest.approx(decoder, rel=ROTARY)
    # 100 tokens are 4 s; the projection behind the encoder's layers, 32 x 64, is left out
    assert encoder.flops(4.0) == tower - 2 * 100 * 32 * 64


def test_steps_are_one_column_more():
    costs = costs_of(tiny_families.build("voxtral"))
    depth = len(costs.layers)
    more = costs.flops([41] * depth) - costs.flops([40] * depth)
    head = 2 * costs.width * costs.vocabulary
    # both ways of counting pairs differ by the half that a causal mask leaves out
    assert costs.step_flops(40) - head < more < costs.step_flops(81)


@pytest.mark.parametrize("all_logits", [False, True])
@pytest.mark.parametrize("ratio", [None, 0.6])
def test_peaks_are_those_of_the_true_shapes(all_logits, ratio):
    """By the bytes of all tensors that live at once on the meta device; weights are beside."""
    shape = SHAPES["qwen2.5-omni-3b"]
    model = random_thinker(shape, footprint.META, seed=0)
    tokens = 750
    inputs = footprint.inputs_on(footprint.META, shape, tokens)
    total = inputs["input_ids"].shape[1]
    found = Costs.of(SimpleNamespace(anatomy=families.locate(model), dtype=torch.bfloat16))
    assert found.all_logits
    costs = Costs(**{**vars(found), "all_logits": all_logits})
    way = None if ratio is None else (Frame(), ratio)
    with contextlib.nullcontext() if all_logits else last_logits(model):
        measured = footprint.peak(model, inputs, way)
    kept = total if ratio is None else total - tokens + 300
    peak = costs.peak(costs.columns(total, kept, LAYER))
    assert peak.weights == 2 * sum(part.numel() for part in model.parameters())
    assert peak.cache + peak.transient == pytest.approx(measured, rel=0.02)
    expected = "logits of all columns" if all_logits else "MLP of layer"
    assert peak.what.startswith(expected)
