"""A whole run of the prefill benchmark: its options, its JSON, its progress."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import answers, prefills
from benchmarks.measuring.bench import NEW_TOKENS, Bench
from benchmarks.measuring.clock import Clock
from benchmarks.measuring.machine import environment
from benchmarks.measuring.memory import METHODS
from benchmarks.reporting import tables
from benchmarks.subjects import models, prompts
from benchmarks.subjects.shapes import SECTIONS, SHAPES, TOKENS_PER_SECOND
from calibrate.models.placement import choose_device
from calibrate.terminal.console import say
from headrouter_core import UsageError
from headrouter_core.basics.writing import write
from headrouter_core.pruning.context import DEFAULT_LAYER
from headrouter_core.scoring import exact_ratio


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    device: str
    shape: str
    seconds: str
    ratios: str
    sections: str
    repeats: int
    seed: int

    @property
    def command(self) -> str:
        """The command that does it again."""
        return (
            f"python -m benchmarks.prefill --device {self.device} --shape {self.shape}"
            f" --seconds {self.seconds} --ratios {self.ratios} --sections {self.sections}"
            f" --repeats {self.repeats} --seed {self.seed}"
        )


def run(options: Options, output: Path) -> None:
    """Measure, print tables to stdout, and write ``output`` anew after each length.

    Raises:
        UsageError: an option that is out of range or unknown, or no folder to write to.
    """
    if options.shape not in SHAPES:
        raise UsageError(f"there is no shape {options.shape!r}; known are {', '.join(SHAPES)}")
    lengths = _lengths(options.seconds)
    ratios = [float(exact_ratio(part.strip())) for part in options.ratios.split(",")]
    chosen = _sections(options.sections)
    device, _ = choose_device(options.device)
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent} is not a folder; create it first")

    bench = _bench(options, device)
    document = _head(options, bench)
    document["context"] = prefills.measure_context(bench)
    for seconds in lengths:
        document["lengths"].append(_measure(bench, seconds, ratios, chosen))
        document["complete"] = len(document["lengths"]) == len(lengths)
        write(output, (json.dumps(document, indent=1) + "\n").encode(), force=True)
    tables.show(document)


def _lengths(text: str) -> list[float]:
    try:
        lengths = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--seconds {text} holds what is no number; say 30,90") from error
    for seconds in lengths:
        if not 1 <= seconds <= 3600:
            raise UsageError(f"--seconds {seconds:g} is outside [1, 3600]; choose another length")
    return lengths


def _sections(text: str) -> list[str]:
    chosen = [part.strip() for part in text.split(",")]
    for name in chosen:
        if name not in SECTIONS:
            raise UsageError(f"there is no section {name!r}; known are {', '.join(SECTIONS)}")
    return chosen


def _bench(options: Options, device: torch.device) -> Bench:
    shape = SHAPES[options.shape]
    say(f"drawing the weights of {shape.name} on {device}")
    model = models.random_thinker(shape, device, options.seed)
    profile = models.drawn_profile(model, DEFAULT_LAYER, options.seed)
    clock = Clock(device)
    return Bench(model, shape, profile, clock, DEFAULT_LAYER, options.repeats, options.seed)


def _head(options: Options, bench: Bench) -> dict[str, Any]:
    """Return what a reader has to know before the numbers."""
    shape, model = bench.shape, bench.model
    return {
        "benchmark": "prefill",
        "command": options.command,
        "complete": False,
        "environment": environment(bench.device),
        "model": {
            "shape": shape.name,
            "source": shape.source,
            "cut_from": shape.cut_from,
            "weights": "random",
            "parameters": models.parameters(model),
            "dtype": shape.dtype,
            "attention": model.config._attn_implementation,
            "text": dict(shape.text),
            "audio": dict(shape.audio),
        },
        "settings": {
            "layer": bench.layer,
            "tokens_per_second": TOKENS_PER_SECOND,
            "text_tokens": prompts.TEXT_BEFORE + prompts.TEXT_BEHIND,
            "batch": 1,
            "repeats": bench.repeats,
            "warm_up_rounds": 1,
            "new_tokens": NEW_TOKENS,
            "seed": bench.seed,
            "peak_bytes": METHODS.get(bench.device.type),
        },
        "lengths": [],
    }


def _measure(
    bench: Bench, seconds: float, ratios: list[float], chosen: list[str]
) -> dict[str, Any]:
    """Measure the chosen sections for one length."""
    prompt = prompts.synthetic(bench.shape, seconds, bench.device, bench.seed)
    measures: dict[str, Callable[[], Any]] = {
        "prefill": lambda: prefills.measure_prefill(bench, prompt, ratios),
        "selectors": lambda: prefills.measure_selectors(bench, prompt),
        "logits": lambda: prefills.measure_logits(bench, prompt),
        "decode": lambda: answers.measure_decode(bench, prompt, ratios),
        "end_to_end": lambda: (
            answers.measure_end_to_end(bench, seconds, ratios)
            if prompts.fits_front_end(seconds)
            else None
        ),
    }
    entry: dict[str, Any] = {
        "seconds": seconds,
        "audio_tokens": prompt.audio_tokens,
        "prompt_tokens": prompt.length,
    }
    for name in (key for section in chosen for key in SECTIONS[section]):
        started = time.monotonic()
        entry[name] = measures[name]()
        say(f"{seconds:g} s of audio: {name} in {time.monotonic() - started:.1f} s")
    return entry
