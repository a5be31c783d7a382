"""What a prefill holds at its peak on the true shapes: ``python -m benchmarks.footprint``.

No GPU, no weights and no values: everything runs on the meta device, where operations know shapes
and dtypes only, so the whole Qwen2.5-Omni-7B takes seconds and next to no memory. Counted are the
bytes of all tensors that operations return, for as long as they live; not counted are weights, and
what kernels use inside themselves. Attention is taken to be a kernel that keeps nothing but its
result, as flash and memory-efficient ones do, for the unpruned model and the pruned ones alike.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import transformers
from rich.console import Console
from rich.table import Table

from benchmarks.measuring.bench import every_selector, last_logits
from benchmarks.measuring.memory import LiveBytes
from benchmarks.subjects import models, prompts
from benchmarks.subjects.shapes import SHAPES, TOKENS_PER_SECOND, Shape
from calibrate.terminal.console import say
from headrouter_core import Selector, __version__, prune
from headrouter_core.basics.writing import write
from headrouter_core.pruning.context import DEFAULT_LAYER

RESULTS = Path(__file__).parent / "results" / "footprint.json"
MODELS = ("qwen2.5-omni-3b", "qwen2.5-omni-7b")
SECONDS = (30, 90, 300, 600)
RATIOS = (0.3, 0.6, 0.9)
META = torch.device("meta")


class Done(Exception):
    """The logits are made; what the engine checks behind them reads values, and there are none."""


def peak(model: Any, inputs: dict[str, Any], pruning: tuple[Selector, float] | None) -> int:
    """Return the bytes that live at once until the logits are made, above weights and inputs."""

    def stop(*_: Any) -> None:
        raise Done

    with ExitStack() as stack:
        stack.callback(model.get_output_embeddings().register_forward_hook(stop).remove)
        stack.enter_context(attention_that_keeps_nothing())
        # without weights nobody can tell whether the profile is of this model
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        live = LiveBytes()
        pruned = prune(model, *pruning, DEFAULT_LAYER, force=True) if pruning else nullcontext()
        try:
            with pruned, live:
                model(**inputs, use_cache=True)
        except Done:
            return live.peak
    raise AssertionError("the model made no logits")


@contextmanager
def attention_that_keeps_nothing() -> Iterator[None]:
    """Let scaled_dot_product_attention return a result of the right shape."""

    def attend(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> torch.Tensor:
        made: torch.Tensor = query.new_empty(*query.shape[:-1], value.shape[-1])
        return made

    with mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", attend):
        yield


def inputs_on(device: torch.device, shape: Shape, audio_tokens: int) -> dict[str, Any]:
    """Return a prompt whose ids are on the host, and all else on a device."""
    ids = prompts.input_ids(shape, audio_tokens, seed=0)
    dtype, length = getattr(torch, shape.dtype), ids.shape[1]
    return {
        "input_ids": ids,
        "inputs_embeds": torch.zeros(
            1, length, shape.text["hidden_size"], dtype=dtype, device=device
        ),
        "position_ids": torch.arange(length, device=device).expand(3, 1, -1),
    }


def measure(shape: Shape, model: Any, seconds: int) -> dict[str, Any]:
    """Return peaks of one length: unpruned, of every selector, and with logits of all columns."""
    audio_tokens = seconds * TOKENS_PER_SECOND
    inputs = inputs_on(META, shape, audio_tokens)
    profile = models.drawn_profile(model, DEFAULT_LAYER, seed=0)
    kinds = every_selector(profile, torch.zeros(audio_tokens))
    with last_logits(model):
        unpruned = peak(model, inputs, None)
        pruned = {
            name: {str(ratio): peak(model, inputs, (kind, ratio)) for ratio in RATIOS}
            for name, kind in kinds.items()
        }
    every = {"unpruned": peak(model, inputs, None)}
    for ratio in RATIOS:
        every[str(ratio)] = peak(model, inputs, (kinds["headrouter"], ratio))
    return {
        "seconds": seconds,
        "audio_tokens": audio_tokens,
        "unpruned_bytes": unpruned,
        "pruned_bytes": pruned,
        "with_all_logits_bytes": every,
    }


def table(document: dict[str, Any]) -> Table:
    """Return every peak as a share of the unpruned one."""
    ratios = [f"r = {ratio}" for ratio in RATIOS]
    made = Table("model", "audio", "unpruned, MiB", "method", *ratios)
    for name, lengths in document["models"].items():
        for length in lengths:
            whole = length["unpruned_bytes"]
            for method, peaks in length["pruned_bytes"].items():
                cells = [f"{bytes_ / whole:.3f}" for bytes_ in peaks.values()]
                head = name, f"{length['seconds']} s", f"{whole / 2**20:.0f}"
                made.add_row(*head, method, *cells)
    return made


def main() -> None:
    """Measure all, write the JSON, print the table."""
    document: dict[str, Any] = {
        "benchmark": "footprint",
        "command": "python -m benchmarks.footprint",
        "method": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "headrouter": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "layer": DEFAULT_LAYER,
        "models": {},
    }
    for name in MODELS:
        shape = SHAPES[name]
        model = models.random_thinker(shape, META, seed=0)
        document["models"][name] = [measure(shape, model, seconds) for seconds in SECONDS]
        say(f"{name}: done")
    write(RESULTS, (json.dumps(document, indent=1) + "\n").encode(), force=True)
    Console(width=100).print(table(document))


if __name__ == "__main__":
    main()
