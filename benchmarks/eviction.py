"""Which methods of eviction keep what an answer needs: ``python -m benchmarks.eviction``.

On scenes of tiny-omni's test clips. Each prompt runs once; its cache is then evicted from by every
method and budget, and the reference answer is put behind it. The prompt's own last logits saw the
whole cache, so that the answer's first token is the same for all and is left out. Differences are
paired, with 95 % intervals from a bootstrap over speakers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import transformers
import typer
from rich.console import Console
from rich.table import Table

from calibrate.models import named
from calibrate.sound.reading import SAMPLE_RATE, resample
from calibrate.terminal.progress import Progress
from headrouter_core import (
    AdaKV,
    AudioKV,
    HeadRouter,
    Profile,
    RandomKV,
    SnapKV,
    StreamingLLM,
    __version__,
    load_profile,
    prune,
)
from headrouter_core.basics.writing import write
from headrouter_core.eviction.methods import Method, Need
from headrouter_core.eviction.observing import Observed, Observer, observing
from headrouter_core.eviction.watching import Watch

RESULTS = Path(__file__).parent / "results" / "eviction_tiny-omni.json"
TASKS = ("digits", "sentence")
BUDGETS = ("0.6", "0.4", "0.2", "0.1")
WINDOW = 32
SHUFFLES = 3
DRAWS = 2000
#: What is held against AudioKV, claim by claim.
RIVALS = ("shuffled heads", "uniform budgets", "no smoothing", "adakv", "snapkv")


@dataclass(frozen=True)
class Found:
    """How well an answer goes on behind an evicted cache."""

    nll: float
    """Nats a token of the reference answer, its first left out."""
    kl: float
    """To what the whole cache gives, nats a token."""
    right: float
    """Whether every token of it would be chosen."""
    held: float
    """Bytes held, as a share of those before."""


def methods(profile: Profile) -> dict[str, list[Method]]:
    """Return what is compared; of several in one place the mean counts."""
    shuffled: list[Method] = [
        AudioKV(profile, window=WINDOW, budgets="shuffled", seed=seed) for seed in range(SHUFFLES)
    ]
    return {
        "audiokv": [AudioKV(profile, window=WINDOW)],
        "no smoothing": [AudioKV(profile, window=WINDOW, mix=0)],
        "mean left in": [AudioKV(profile, window=WINDOW, center=False)],
        "uniform budgets": [AudioKV(profile, window=WINDOW, budgets="uniform")],
        "shuffled heads": shuffled,
        "adakv": [AdaKV(window=WINDOW)],
        "snapkv": [SnapKV(window=WINDOW)],
        "streaming": [StreamingLLM()],
        "random": [RandomKV(window=WINDOW)],
    }


def ask(loaded: named.Loaded, task: str, index: int, seconds: float) -> tuple[Any, Any, str]:
    """Return a prompt's inputs, the answer's ids [1, n] and the speaker of a scene."""
    from tiny_omni.clips import Bank
    from tiny_omni.questions import pose

    scene, question, cluster = pose(Bank.of("test"), task, index, f"test/{task}/{index}", seconds)
    audio = resample(scene.samples, SAMPLE_RATE, loaded.frontend.sample_rate)
    inputs = loaded.place(loaded.frontend.inputs([audio], question.prompt))
    answer = torch.tensor([loaded.frontend.answer_ids(question.answer)], device=loaded.device)
    return inputs, answer, cluster


def logits_behind(
    observer: Observer, cache: Any, prompt: Any, answer: torch.Tensor
) -> torch.Tensor:
    """Return the log-probabilities [n - 1, V] of an answer's tokens behind its first."""
    given = answer[:, :-1]
    mask = torch.ones(1, prompt["input_ids"].shape[1] + given.shape[1], device=answer.device)
    positions = torch.arange(mask.shape[1], device=answer.device)[None, None, -given.shape[1] :]
    output = observer.anatomy.root(
        input_ids=given,
        attention_mask=mask.long(),
        position_ids=positions.expand(3, 1, -1),
        past_key_values=cache,
        use_cache=True,
    )
    logits: torch.Tensor = output.logits[0].float().log_softmax(-1)
    return logits


def held(cache: Any) -> int:
    """Return the bytes that a cache holds."""
    return sum(layer.held_bytes() for layer in cache.layers)


def measure(
    observer: Observer,
    observed: Observed,
    method: Method,
    budget: Fraction,
    prompt: Any,
    answer: torch.Tensor,
    whole: torch.Tensor,
) -> Found:
    """Evict, and hold what follows against what the whole cache gives."""
    cache = observed.evicted(method, budget)
    share = held(cache) / held(observed.cache)
    left = logits_behind(observer, cache, prompt, answer)
    wanted = answer[0, 1:]
    nll = -left.gather(1, wanted[:, None]).mean().item()
    kl = (whole.exp() * (whole - left)).sum(-1).mean().item()
    return Found(nll, kl, float((left.argmax(-1) == wanted).all()), share)


def run(
    loaded: named.Loaded, profile: Profile, per_task: int, seconds: float, ratio: float
) -> Iterator[dict[str, Any]]:
    """Yield a record for each question: all methods and budgets, and the whole cache."""
    systems = methods(profile)
    for task in TASKS:
        for index in range(per_task):
            prompt, answer, cluster = ask(loaded, task, index, seconds)
            with ExitStack() as stack:
                if ratio:
                    stack.enter_context(prune(loaded.model, HeadRouter(profile), ratio))
                observer = stack.enter_context(observing(loaded.model))
                observed = observer.run(prompt, Watch(Need.WINDOW, WINDOW))
                whole = logits_behind(observer, observed.whole(), prompt, answer)
                record: dict[str, Any] = {"task": task, "cluster": cluster}
                wanted = answer[0, 1:]
                record["whole"] = {
                    "nll": -whole.gather(1, wanted[:, None]).mean().item(),
                    "right": float((whole.argmax(-1) == wanted).all()),
                }
                for name, kinds in systems.items():
                    for budget in BUDGETS:
                        each = [
                            measure(
                                observer, observed, kind, Fraction(budget), prompt, answer, whole
                            )
                            for kind in kinds
                        ]
                        record[f"{name} {budget}"] = {
                            key: float(np.mean([getattr(found, key) for found in each]))
                            for key in ("nll", "kl", "right", "held")
                        }
            yield record


def interval(values: np.ndarray, clusters: Sequence[str], seed: int = 0) -> list[float]:
    """Return mean, low and high of a 95 % interval, by drawing clusters with replacement."""
    names = sorted(set(clusters))
    of = np.array([names.index(cluster) for cluster in clusters])
    sums = np.bincount(of, values, len(names))
    counts = np.bincount(of, minlength=len(names))
    drawn = np.random.default_rng(seed).integers(len(names), size=(DRAWS, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return [float(values.mean()), *(float(q) for q in np.quantile(means, [0.025, 0.975]))]


def summary(records: Sequence[dict[str, Any]], systems: Sequence[str]) -> dict[str, Any]:
    """Return means of each system and budget, and AudioKV's differences to its rivals."""
    clusters = [f"{record['task']}/{record['cluster']}" for record in records]

    def column(name: str, key: str) -> np.ndarray:
        return np.array([record[name][key] for record in records])

    means = {
        f"{name} {budget}": {
            key: round(float(column(f"{name} {budget}", key).mean()), 4)
            for key in ("nll", "kl", "right", "held")
        }
        for name in systems
        for budget in BUDGETS
    }
    whole = {key: round(float(column("whole", key).mean()), 4) for key in ("nll", "right")}
    claims = {}
    for rival in RIVALS:
        for budget in BUDGETS:
            for key in ("nll", "right"):
                change = column(f"audiokv {budget}", key) - column(f"{rival} {budget}", key)
                mean, low, high = (round(value, 4) for value in interval(change, clusters))
                claims[f"{rival} {budget} {key}"] = {
                    "difference": mean,
                    "interval": [low, high],
                    "tie": low <= 0 <= high,
                }
    return {"whole": whole, "systems": means, "audiokv minus": claims}


def _passes(ratio: float) -> list[tuple[str, float]]:
    """Return what is measured: without pruning and, unless the ratio is 0, with it."""
    return [("unpruned", 0.0), *([(f"pruned {ratio:g}", ratio)] if ratio else [])]


def main(
    per_task: Annotated[int, typer.Option(min=2)] = 60,
    seconds: float = 30.0,
    ratio: Annotated[float, typer.Option(help="Of pruning beside eviction; 0: none.")] = 0.6,
    profile: str = "tiny-omni",
    output: Path = RESULTS,
) -> None:
    """Compare methods of eviction on tiny-omni, unpruned and pruned."""
    loaded, scored = named.load("tiny-omni"), load_profile(profile)
    systems = list(methods(scored))
    document: dict[str, Any] = {
        "versions": {
            "headrouter": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "questions": per_task * len(TASKS),
        "seconds": seconds,
        "window": WINDOW,
    }
    with Progress(Console(stderr=True)) as progress:
        for name, wanted in _passes(ratio):
            records = []
            with progress.stage(name, per_task * len(TASKS)) as advance:
                for record in run(loaded, scored, per_task, seconds, wanted):
                    records.append(record)
                    advance()
            document[name] = summary(records, systems)
    write(output, (json.dumps(document, indent=1) + "\n").encode(), force=True)
    table = Table("method", *(f"{b} nll / right" for b in BUDGETS))
    for name in systems:
        cells = [document["unpruned"]["systems"][f"{name} {budget}"] for budget in BUDGETS]
        table.add_row(name, *(f"{c['nll']:.3f} / {c['right']:.2f}" for c in cells))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
