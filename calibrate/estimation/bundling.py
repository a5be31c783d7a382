"""From fitted parameters to the bundle: tensors, recipe, and how they came about."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from calibrate.estimation.ablation import BOTH_KINDS
from calibrate.estimation.choosing.choices import Choices, Fitted
from calibrate.estimation.choosing.intervals import mean_interval
from calibrate.estimation.choosing.material import Material, spreads_of
from calibrate.estimation.samples.known import heard
from calibrate.estimation.samples.manifests import GROUPS
from calibrate.estimation.samples.sample import Sample, manifest_digest
from calibrate.models.named import Loaded
from calibrate.sound.reading import DECODER
from headrouter_core.errors import UsageError
from headrouter_core.families import model_info
from headrouter_core.profile.bundle import MAX_BYTES
from headrouter_core.profile.checks import LONGEST_NAME, is_name
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.recipe import Recipe
from headrouter_core.profile.schema import MAX_TASKS
from headrouter_core.routing import VECTORS
from headrouter_core.selectors import AdaptiveSegments

#: Bytes of a bundle that do not grow with the samples, those of one task in its report, and those
#: by which a sample is known again.
_REST, _A_TASK, _HEARD = 64 * 1024, 4 * 1024, 100

#: What numbers may depend on.
LIBRARIES = ("torch", "transformers", "numpy", "scipy", "safetensors", "tokenizers")


def check_room(
    loaded: Loaded, samples: Sequence[Sample], layer: int, ratios: Sequence[float]
) -> None:
    """Raise where a bundle could not hold what a calibration on ``samples`` would find out.

    Raises:
        UsageError: too many samples, tasks or ratios for one profile, or a task with no short name.
    """
    tasks = list(dict.fromkeys(sample.task for sample in samples))
    for task in tasks:
        if not is_name(task):
            raise UsageError(
                f"a task is called {task[:40]!r}… ({len(task)} letters); a profile names tasks by"
                f" at most {LONGEST_NAME}"
            )
    heads = model_info(loaded.model, layer).heads
    used = sum(not sample.held_out for sample in samples)
    numbers = used * (heads + 4) + 2 * len(BOTH_KINDS) * len(tasks) * len(ratios) * heads
    # JSON in JSON, as in the file
    names = json.dumps(json.dumps([[s.id, s.task] if not s.held_out else s.id for s in samples]))
    size = 4 * numbers + len(names) + _HEARD * len(samples) + _A_TASK * len(tasks) + _REST
    if len(tasks) > MAX_TASKS or size > MAX_BYTES:
        raise UsageError(
            f"{len(samples)} samples of {len(tasks)} tasks at {len(ratios)} ratios would make a"
            f" profile of about {size} bytes, and one has at most {MAX_BYTES} and {MAX_TASKS}"
            " tasks; lower --per-category or --limit, or name fewer tasks"
        )


def bundle(
    loaded: Loaded,
    samples: Sequence[Sample],
    material: Material,
    choices: Choices,
    fitted: Fitted,
    results: dict[str, Any],
    layer: int,
    ratios: Sequence[float],
    seed: int,
) -> Profile:
    """Put everything into a :class:`Profile`."""
    benches = material.benches
    rows = [bench.sample for bench in benches]
    tasks = list(dict.fromkeys(sample.task for sample in rows))
    means, errors = material.ablation.by_task(
        tasks, [sample.task for sample in rows], [sample.cluster for sample in rows]
    )
    spreads = spreads_of(benches, fitted.text_tokens)
    candidate = choices.weights.candidate
    tensors = {
        **{f"weights.{name}": fitted.weights[i].clone() for i, name in enumerate(VECTORS)},
        "centers": torch.from_numpy(fitted.router.routing.centers),
        "bandwidth": torch.tensor([fitted.router.routing.bandwidth], dtype=torch.float64),
        "calibration.selectivity": torch.stack(
            [bench.selectivity(fitted.text_tokens).float() for bench in benches]
        ),
        "calibration.spread": torch.from_numpy(spreads),
        "calibration.audio_tokens": torch.tensor([bench.audio_tokens for bench in benches]),
        "calibration.ablation": torch.from_numpy(means).float(),
        "calibration.ablation_stderr": torch.from_numpy(errors).float(),
    }
    if fitted.router.rule is not None:
        tensors["router.selectivity"] = torch.from_numpy(fitted.router.rule)
    info = model_info(loaded.model, layer)
    return Profile(
        tensors=tensors,
        model=replace(info, id=loaded.id, revision=loaded.revision),
        recipe=Recipe(
            selector_parameters={AdaptiveSegments.name: dict(fitted.settings)},
            layer=layer,
            text_tokens=fitted.text_tokens,
            prefilter_exponent=fitted.exponent,
            ablation=material.ablation.kinds,
            weights_rule=candidate.rule,
            weights_strength=candidate.strength,
            weights_unit="head_deviation",
            route=fitted.route,
            centers_rule="group_means_midpoint" if material.grouped else "overall_mean",
            bandwidth_rule=(
                "pooled_deviation" if choices.route.factor == 1.0 else "cross_validated"
            ),
        ),
        calibration={
            "manifest": manifest_digest(list(samples)),
            "heard": heard(samples),
            "samples": [sample.id for sample in rows],
            "sample_tasks": [sample.task for sample in rows],
            "sample_folds": [sample.fold for sample in rows],
            "report_samples": [sample.id for sample in samples if sample.held_out],
            "tasks": tasks,
            "groups": {sample.task: sample.group for sample in rows},
            "ratios": list(ratios),
            "seed": seed,
            "dtype": info.dtype,
            "device": loaded.device.type,
            "attention": str(loaded.model.config._attn_implementation),
            "decoder": DECODER,
            "validation": {
                "weights": _round(choices.weights.losses),
                "probe": _round(choices.probe.losses),
                "bandwidth_factor": _round(choices.route.factor_losses),
                "route": _round(choices.route.losses),
                "segments": _round(choices.segments.losses),
            },
            "intervals": intervals(material, fitted, spreads, seed),
        },
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
        results=results,
    )


def intervals(
    material: Material, fitted: Fitted, spreads: np.ndarray, seed: int
) -> dict[str, list[float]]:
    """95 % intervals of the two fitted centers, over clusters; none without groups."""
    found = {}
    for group in GROUPS if material.grouped else ():
        inside = [i for i, bench in enumerate(material.benches) if bench.sample.group == group]
        clusters = [material.benches[i].sample.cluster for i in inside]
        backgrounds = [material.benches[i].sample.background for i in inside]
        at = mean_interval(spreads[inside], clusters, backgrounds, seed)
        found[f"centers.{group}"] = [at.low, at.high]
    return found


def _round(losses: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in losses.items()}
