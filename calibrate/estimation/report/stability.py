"""How far a profile can be trusted: with the length of the audio, the samples and the seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from calibrate.estimation.ablation import ablate
from calibrate.estimation.bench import Bench, prepare
from calibrate.estimation.choosing.choices import Fitted, choose
from calibrate.estimation.choosing.material import Material, mixing_by, spreads_of
from calibrate.estimation.replay.parking import Parking
from calibrate.estimation.samples.sample import Sample
from calibrate.models.named import Loaded
from calibrate.running.work import Work
from calibrate.terminal.progress import Progress
from headrouter_core import routing

SEEDS = (0, 1, 2)
_BINS = 4


def by_length(benches: Sequence[Bench], fitted: Fitted) -> list[dict[str, Any]]:
    """How spread and mixing move with the number of audio tokens: one row a length.

    Lengths are the distinct N_a where there are few, else quarters of the samples.
    """
    ordered = sorted(benches, key=lambda bench: bench.audio_tokens)
    counts = [bench.audio_tokens for bench in ordered]
    if len(set(counts)) <= 2 * _BINS:
        bins = [[b for b in ordered if b.audio_tokens == count] for count in sorted(set(counts))]
    else:
        parts = np.array_split(np.arange(len(ordered)), _BINS)
        bins = [[ordered[index] for index in part] for part in parts]
    return [_row(members, fitted) for members in bins]


def _row(benches: Sequence[Bench], fitted: Fitted) -> dict[str, Any]:
    row: dict[str, Any] = {
        "audio_tokens": [benches[0].audio_tokens, benches[-1].audio_tokens],
        "samples": len(benches),
    }
    for group in ("semantic", "acoustic"):
        members = [bench for bench in benches if bench.sample.group == group]
        spreads = spreads_of(members, fitted.text_tokens)
        if not len(spreads):
            continue
        mixed = [
            mixing_by(bench, fitted.text_tokens, "auto", fitted.router)[:3] for bench in members
        ]
        shares = torch.stack(mixed).mean(0).tolist()
        row[group] = {
            "spread": round(float(spreads.mean()), 6),
            "mixing": dict(zip(routing.GROUPS, [round(s, 4) for s in shares], strict=True)),
        }
    return row


def stability(
    loaded: Loaded,
    draw: Callable[[int, int], list[Sample]],
    sizes: tuple[int, int],
    recipe: str,
    kinds: tuple[str, ...],
    *,
    layer: int,
    ratios: Sequence[float],
    progress: Progress,
    work: Work,
    parking: Parking | None = None,
) -> dict[str, Any]:
    """Choose and fit again on other samples.

    ``draw(per_category, seed)`` gives samples. The small size is fitted for three seeds, and
    compared with the large one: changes of centers and bandwidth relative to the large fit, and of
    the weights as total variation distance (half the sum of absolute differences, in [0, 1]).
    """

    def refit(per_category: int, seed: int) -> dict[str, Any]:
        samples = [sample for sample in draw(per_category, seed) if not sample.held_out]
        title = f"{per_category} a category, seed {seed}"
        own = work.within(title)
        with progress.stage(title, 2 * len(samples)) as tick:
            benches = prepare(loaded, samples, layer, own, parking, tick)
            material = Material(benches, ablate(benches, ratios, tick, kinds, own), work=own)
        choices = choose(material, ratios, progress, recipe)
        fitted = choices.fit(material)
        if parking is not None:
            parking.clear()
        return {
            "samples": len(samples),
            "choices": choices.named(),
            "centers": fitted.router.routing.centers,
            "bandwidth": fitted.router.routing.bandwidth,
            "weights": fitted.weights.double().numpy(),
        }

    small, large = sizes
    seeds = {seed: refit(small, seed) for seed in SEEDS}
    half = refit(large, SEEDS[0])
    return {
        "per_category": {"small": small, "large": large},
        "large": {"samples": half["samples"], **_parameters(half)},
        "small": {str(seed): _parameters(fit) for seed, fit in seeds.items()},
        "change": {str(seed): _change(fit, half) for seed, fit in seeds.items()},
    }


def _parameters(fit: dict[str, Any]) -> dict[str, Any]:
    return {
        "choices": fit["choices"],
        "centers": [round(float(center), 6) for center in fit["centers"]],
        "bandwidth": round(fit["bandwidth"], 6),
    }


def _change(fit: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    centers = np.abs(fit["centers"] - reference["centers"]) / reference["centers"]
    moved = np.abs(fit["weights"] - reference["weights"]).sum(axis=1) / 2
    names = routing.GROUPS
    return {
        "centers": {n: round(float(c), 4) for n, c in zip(names, centers, strict=True)},
        "bandwidth": round(abs(fit["bandwidth"] / reference["bandwidth"] - 1), 4),
        "weights": {n: round(float(m), 4) for n, m in zip(routing.VECTORS, moved, strict=True)},
    }
