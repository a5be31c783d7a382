"""What measurements should take of time and memory, counted from the shapes.

An estimate decides what is tried on a device and what fits into the minutes that are left; it is no
result. Memory is exact up to what kernels use inside themselves; time is a bound by arithmetic, by
the host, which launches every kernel, and by reading the weights.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.gpu.plan import Measurement
from benchmarks.measuring.bench import NEW_TOKENS
from benchmarks.measuring.calibrating import RATIO as CALIBRATION_RATIO
from benchmarks.measuring.prefills import RATIO as SELECTOR_RATIO
from benchmarks.subjects import models, prompts
from benchmarks.subjects.shapes import (
    SHAPES,
    TOKENS_PER_SECOND,
    Shape,
)
from headrouter_core import SELECTORS
from headrouter_core.pruning.context import DEFAULT_LAYER
from headrouter_core.scoring import keep_count

_TEXT = prompts.TEXT_BEFORE + prompts.TEXT_BEHIND + 2
#: Frames of features a second, and in a chunk of the encoder's attention.
_FRAMES_PER_SECOND, _CHUNK = 100, 200
_TESTS_SECONDS, _INPUTS_SECONDS = 45.0, 0.7
#: Seconds to draw the weights of a model.
DRAWING_SECONDS = 6.0


@dataclass(frozen=True)
class Machine:
    """What an estimate assumes of a device."""

    flops: float
    """Operations a second in large products; half of the data sheet's is common."""
    bytes_per_second: float
    """Of the device's memory."""
    memory: int
    """Bytes of it."""
    layer_launch: float = 0.8e-3
    """Seconds that the host takes to launch a decoder layer; a short prefill waits for it."""
    attention_launch: float = 60e-6
    """The same of an attention of the encoder, which takes one a chunk."""


H100 = Machine(flops=400e12, bytes_per_second=2.5e12, memory=78 * 2**30)


def machine(device: torch.device) -> Machine:
    """Return what is assumed of the device at hand; its memory is its own."""
    if device.type == "cuda":
        return Machine(400e12, 2.5e12, torch.cuda.get_device_properties(device).total_memory)
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:  # Windows: whatever does not fit says so itself
        memory = 2**62
    return Machine(flops=20e9, bytes_per_second=10e9, memory=memory)


def columns(seconds: float, ratio: float = 0) -> int:
    """Return the tokens of a prompt, with so many of its audio tokens removed."""
    return _TEXT + keep_count(round(seconds * TOKENS_PER_SECOND), ratio)


def flops(shape: Shape, length: int, kept: int | None = None) -> int:
    """Return the operations of one row's prefill, as torch's counter of them does.

    A product of sizes a, b and c is 2abc; attention is counted over all pairs, although kernels
    leave out those that are masked. Logits are those of the last column.

    Args:
        shape: the model's.
        length: columns that layers before M see.
        kept: columns that the others see; ``length`` unless given.
    """
    text, layers = shape.text, shape.layers
    early = layers if kept is None else DEFAULT_LAYER
    width, inner, heads, kv_heads, dim = _sizes(shape)
    weights = width * dim * (2 * heads + 2 * kv_heads) + 3 * width * inner

    def layer(columns: int) -> int:
        return 2 * columns * weights + 4 * columns**2 * heads * dim

    head = 2 * width * int(text["vocab_size"])
    return early * layer(length) + (layers - early) * layer(kept or length) + head


def peak(shape: Shape, length: int, rows: int, *, all_logits: bool = False) -> int:
    """Return the bytes that live at once in an unpruned prefill, above weights and inputs.

    The last layer's MLP is the peak: the whole cache, two inner states and their product, the
    states before, between and behind, and the rotary phases; or, where they are made, the logits of
    all columns.
    """
    size = int(getattr(torch, shape.dtype).itemsize)
    width, inner, _, kv_heads, dim = _sizes(shape)
    cache = 2 * shape.layers * kv_heads * dim
    layer = cache + 3 * inner + 3 * width + 2 * dim
    logits = cache + width + int(shape.text["vocab_size"]) if all_logits else 0
    return size * rows * length * max(layer, logits)


@functools.cache
def weights(name: str) -> int:
    """Return the bytes of a shape's weights."""
    shape = SHAPES[name]
    model = models.random_thinker(shape, torch.device("meta"), 0)
    return models.parameters(model) * int(getattr(torch, shape.dtype).itemsize)


def memory(measurement: Measurement) -> int:
    """Return the bytes that a measurement should hold at its peak."""
    if not measurement.shape:
        return 0
    shape = SHAPES[measurement.shape]
    length, rows = columns(measurement.seconds), measurement.batch
    # generate makes logits of all columns where the forward cannot be told which
    all_logits = measurement.kind in ("decode", "end_to_end", "calibration")
    size = int(getattr(torch, shape.dtype).itemsize)
    embeddings = rows * length * _sizes(shape)[0] * size
    return weights(shape.name) + embeddings + peak(shape, length, rows, all_logits=all_logits)


def seconds(measurement: Measurement, machine: Machine = H100) -> float:
    """Return what a measurement should take, without drawing its model's weights."""
    if not measurement.shape:
        return _TESTS_SECONDS
    shape, rounds = SHAPES[measurement.shape], measurement.rounds + 1
    whole = _prefill(measurement, machine)
    pruned = sum(_prefill(measurement, machine, ratio) for ratio in measurement.ratios)
    if measurement.kind == "prefill":
        return rounds * (whole + 2 * pruned) + whole + pruned  # once more for the peaks
    if measurement.kind == "selectors":
        one = _prefill(measurement, machine, SELECTOR_RATIO)
        return (rounds + 1) * (whole + len(SELECTORS) * one)
    ways = 1 + len(measurement.ratios)
    steps = (NEW_TOKENS - 1) * _step(shape, machine)
    if measurement.kind == "decode":
        return rounds * (whole + pruned + ways * steps)
    encoder = _encoder(shape, measurement.seconds, machine)
    if measurement.kind == "end_to_end":
        inputs_and_encoder = ways * _INPUTS_SECONDS + (ways + 1) * encoder
        return rounds * (whole + pruned + ways * steps + inputs_and_encoder)
    sets = 2 * int(shape.text["num_attention_heads"]) + 1  # without each head, each alone, all
    one = _prefill(measurement, machine, CALIBRATION_RATIO)
    shared = 2 * _INPUTS_SECONDS + encoder + whole + sets * one
    return (rounds + 1) * shared + _INPUTS_SECONDS + (sets + 2) * (encoder + one)


def total(measurements: Sequence[Measurement], machine: Machine = H100) -> float:
    """Return what they should take one after the other, weights drawn in between."""
    possible = [one for one in measurements if one.impossible is None]
    shapes = [one.shape for one in possible if one.shape]
    drawn = sum(shape != before for before, shape in zip(["", *shapes], shapes, strict=False))
    return drawn * DRAWING_SECONDS + sum(seconds(one, machine) for one in possible)


def _prefill(measurement: Measurement, machine: Machine, ratio: float = 0) -> float:
    shape = SHAPES[measurement.shape]
    length, kept = columns(measurement.seconds), columns(measurement.seconds, ratio)
    work = measurement.batch * flops(shape, length, kept) / machine.flops
    return max(work, shape.layers * machine.layer_launch)


def _step(shape: Shape, machine: Machine) -> float:
    return max(weights(shape.name) / machine.bytes_per_second, shape.layers * machine.layer_launch)


def _encoder(shape: Shape, seconds: float, machine: Machine) -> float:
    """The encoder sees 50 states a second; without flash attention chunk after chunk."""
    audio, frames = shape.audio, seconds * _FRAMES_PER_SECOND
    width, inner = int(audio["d_model"]), int(audio["encoder_ffn_dim"])
    work = frames / 2 * int(audio["encoder_layers"]) * 2 * (4 * width**2 + 2 * width * inner)
    launches = int(audio["encoder_layers"]) * max(1, frames / _CHUNK)
    return max(work / machine.flops, launches * machine.attention_launch)


def _sizes(shape: Shape) -> tuple[int, int, int, int, int]:
    """Return width, inner width, heads, key heads, and a head's width."""
    text = shape.text
    width, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
    inner, kv_heads = int(text["intermediate_size"]), int(text["num_key_value_heads"])
    return width, inner, heads, kv_heads, width // heads
