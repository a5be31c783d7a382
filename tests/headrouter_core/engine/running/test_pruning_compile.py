"""Compiled modules: dynamo does not look for hooks that came later, so gates have to tell it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from transformers import CompileConfig

from headrouter_core import families
from headrouter_core.families.discovery import find_decoder
from headrouter_core.pruning.context import prune

from ...checking.guarded import ONE, fixture_model, refused
from ...checking.probes import Affinity
from ...tiny.models import batch, thinker

model = fixture_model


@pytest.fixture
def compiled() -> Iterator[Any]:
    model = thinker("sdpa", num_hidden_layers=3)
    layers = families.locate(model).layers
    layers[1].compile(backend="eager")
    layers[2] = torch.compile(layers[2], backend="eager")
    yield model
    torch._dynamo.reset()


@torch.no_grad()
def test_layers_compiled_before(compiled: Any) -> None:
    plain = thinker("sdpa", num_hidden_layers=3)
    inputs = batch(ONE)
    wanted = plain(**inputs).logits
    assert torch.equal(compiled(**inputs).logits, wanted)  # compiled without hooks
    with prune(plain, Affinity(), 0.6, 2):
        pruned = plain(**inputs).logits
    for _ in range(2):
        with prune(compiled, Affinity(), 0.6, 2) as trace:
            assert torch.equal(compiled(**inputs).logits, pruned)
        assert len(trace) == 1
        assert torch.equal(compiled(**inputs).logits, wanted)


def compile_wrapped(model: Any) -> Any:
    return torch.compile(model, backend="eager")


def compile_in_place(model: Any) -> Any:
    model.compile(backend="eager")
    return model


def compile_forward(model: Any) -> Any:
    model.forward = torch.compile(model.forward, backend="eager")
    return model


@pytest.mark.parametrize("compiling", [compile_wrapped, compile_in_place, compile_forward])
@torch.no_grad()
def test_whole_models_compiled_before(compiling: Callable[[Any], Any]) -> None:
    plain, ids = thinker("sdpa", num_hidden_layers=3), torch.tensor(ONE)
    # placeholders alone: to compile the audio tower takes half a minute, and is not the point
    inputs = {"input_ids": ids, "position_ids": torch.arange(ids.shape[1]).expand(3, 1, -1)}
    wanted = plain(**inputs).logits
    with prune(plain, Affinity(), 0.6, 2):
        pruned = plain(**inputs).logits
    try:
        compiled = compiling(thinker("sdpa", num_hidden_layers=3))
        assert torch.equal(compiled(**inputs).logits, wanted)
        with prune(compiled, Affinity(), 0.6, 2) as trace:
            assert torch.equal(compiled(**inputs).logits, pruned)
        assert len(trace) == 1
        assert torch.equal(compiled(**inputs).logits, wanted)
    finally:
        torch._dynamo.reset()


def compiled_frames() -> int:
    frames: int = torch._dynamo.utils.counters["frames"]["total"]
    return frames


@torch.no_grad()
def test_contexts_cost_no_graph_of_others(compiled: Any) -> None:
    """Not of a plain function, nor of a model of the same class, nor, when it is back, its own."""
    other = thinker("sdpa", num_hidden_layers=3)
    layers = families.locate(other).layers
    layers[1].compile(backend="eager")
    layers[2] = torch.compile(layers[2], backend="eager")
    unrelated = torch.compile(lambda x: x * 2 + 1, backend="eager")
    inputs, ones = batch(ONE), torch.ones(3)

    def use() -> None:
        unrelated(ones)
        other(**inputs)

    def round_of_use() -> None:
        with prune(compiled, Affinity(), 0.6, 2):
            use()
            compiled(**inputs)
        use()
        compiled(**inputs)

    round_of_use()
    before = compiled_frames()
    for _ in range(3):
        round_of_use()
    assert compiled_frames() == before


def test_a_context_waits_for_a_compilation_on_another_thread() -> None:
    """Guards are made at the end of a trace: of hooks that came in its midst, dynamo would fail."""
    model = thinker("sdpa", num_hidden_layers=3)
    tracing, opening = threading.Event(), threading.Event()

    def slow(graph: Any, inputs: Any) -> Any:
        tracing.set()
        opening.wait(1)
        return graph.forward

    layers = families.locate(model).layers
    layers[2] = torch.compile(layers[2], backend=slow)
    with torch.no_grad():
        plain = thinker("sdpa", num_hidden_layers=3)(**batch(ONE)).logits
    try:
        with ThreadPoolExecutor(1) as pool, torch.no_grad():
            job = pool.submit(lambda: model(**batch(ONE)).logits.clone())
            tracing.wait(60)
            with prune(model, Affinity(), 0.6, 2) as trace:
                opening.set()
                model(**batch(ONE))
            assert torch.equal(job.result(), plain)
        assert len(trace) == 1
    finally:
        torch._dynamo.reset()


@pytest.mark.slow
def test_steps_compiled_by_generate(model: Any) -> None:
    config = CompileConfig(backend="eager")
    config._compile_all_devices = True
    options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
    static = {**options, "cache_implementation": "static", "compile_config": config}
    plain = model.generate(**batch(ONE), **options)
    with prune(model, Affinity(), 0.6):
        pruned = model.generate(**batch(ONE), **options)
    compiled = thinker("sdpa")
    try:
        assert torch.equal(compiled.generate(**batch(ONE), **static), plain)
        for _ in range(2):
            with prune(compiled, Affinity(), 0.6):
                assert torch.equal(compiled.generate(**batch(ONE), **static), pruned)
        assert torch.equal(compiled.generate(**batch(ONE), **static), plain)
    finally:
        torch._dynamo.reset()


@pytest.mark.parametrize(
    ("part", "layer"),
    [
        ("layers.2", 2),
        ("layers.5", 5),
        ("layers.1.self_attn.q_proj", 2),
        ("layers.1.self_attn.k_proj", 2),
    ],
)
def test_stale_graphs_are_noticed(model: Any, part: str, layer: int) -> None:
    """A graph that dynamo did not forget calls a module's forward and none of its hooks."""
    module = find_decoder(model).get_submodule(part)
    module._compiled_call_impl = module.forward
    try:
        with refused("compiled graph", model, Affinity(), 0.6, layer):
            model(**batch(ONE))
    finally:
        module._compiled_call_impl = None


def test_a_generate_that_reaches_no_hook_is_noticed(model: Any) -> None:
    def decode(model: Any, input_ids: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return input_ids

    with refused("generate ran without the model's hooks", model, Affinity(), 0.6):
        model.generate(**batch(ONE), custom_generate=decode)
