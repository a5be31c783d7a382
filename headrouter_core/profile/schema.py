"""Schema 1 of the bundle: its sections and tensors, and which values they may hold.

Everything here raises :class:`ProfileError`. The recipe checks itself.
"""

from __future__ import annotations

import math
import ntpath
import posixpath
import re
import reprlib
from collections.abc import Mapping
from typing import Any

import torch

from headrouter_core.errors import ProfileError
from headrouter_core.profile.bundle import Layout
from headrouter_core.profile.checks import (
    LONGEST_NAME,
    check_keys,
    entries,
    is_name,
    is_number,
    is_real,
    is_sha256,
    is_whole,
    require,
)
from headrouter_core.profile.model_info import ModelInfo
from headrouter_core.profile.recipe import Recipe
from headrouter_core.profile.report_schema import check_pair
from headrouter_core.routing import GROUPS, VECTORS

#: The newest schema that this version reads, and the one that it writes.
SCHEMA = 1

#: Top-level keys of the metadata.
SECTIONS = ("schema", "version", "model", "recipe", "calibration", "versions", "results")

#: Keys that the calibration section must have; more are welcome.
CALIBRATION_KEYS = (
    "manifest",  # sha256 of the manifest, or null for a profile made by hand
    "samples",  # S sample ids, in the order of the calibration tensors
    "sample_tasks",  # the task of each sample
    "tasks",  # T tasks, the second axis of the ablation tensors
    "groups",  # task -> semantic or acoustic, or, where that was not told, pooled
    "ratios",  # R pruning ratios, the third axis of the ablation tensors
    "seed",
    "dtype",  # what the model computed in
    "device",
    "attention",  # attention implementation
    "decoder",  # what decoded and resampled the audio
)

#: dtype and shape of every tensor: H heads (H+1: and a constant), L layers, K key-value heads, S
#: samples, A ablation kinds, T tasks, R ratios.
TENSORS: dict[str, tuple[torch.dtype, tuple[str | int, ...]]] = {
    "weights.semantic": (torch.float32, ("H",)),
    "weights.uniform": (torch.float32, ("H",)),
    "weights.acoustic": (torch.float32, ("H",)),
    "weights.pooled": (torch.float32, ("H",)),
    "router.selectivity": (torch.float64, ("H+1",)),
    "cache.heads": (torch.float32, ("L", "K")),
    "cache.heads_stderr": (torch.float32, ("L", "K")),
    "centers": (torch.float64, (3,)),
    "bandwidth": (torch.float64, (1,)),
    "calibration.selectivity": (torch.float32, ("S", "H")),
    "calibration.spread": (torch.float64, ("S",)),
    "calibration.audio_tokens": (torch.int64, ("S",)),
    "calibration.ablation": (torch.float32, ("A", "T", "R", "H")),
    "calibration.ablation_stderr": (torch.float32, ("A", "T", "R", "H")),
}

#: Tensors that a bundle may lack, as those of the first files do, unless its recipe needs them.
OPTIONAL = ("weights.pooled", "router.selectivity", "cache.heads", "cache.heads_stderr")

#: Route -> the tensor without which it is none.
NEEDED = {"pooled": "weights.pooled", "selectivity": "router.selectivity"}

#: Least and greatest value of tensors whose unit bounds them; selectivities lie in [0, 1] up to
#: float32 rounding, and so do their deviations and everything measured in these.
BOUNDS: dict[str, tuple[float, float]] = {
    "cache.heads": (0, 1),
    "cache.heads_stderr": (0, 1),
    "centers": (0, 1),
    "bandwidth": (1e-9, 1e3),
    "calibration.selectivity": (-1e-3, 1 + 1e-3),
    "calibration.spread": (0, 1),
    "calibration.audio_tokens": (1, 2**53),
    "calibration.ablation_stderr": (0, torch.finfo(torch.float32).max),
}

#: How far the sum of a weight vector may lie from 1.
WEIGHT_TOLERANCE = 1e-4

#: Most heads, and most tasks: what a table or a picture can show, and several times what models and
#: calibrations have.
MAX_HEADS, MAX_TASKS = 1024, 256


_HEARD = re.compile("[0-9a-f]{16}-[0-9a-f]{64}")


def check_sections(metadata: Mapping[str, Any]) -> None:
    """Raise where the metadata is of a newer schema, or a section is missing or unknown."""
    version = metadata.get("schema")
    require(is_whole(version, 1), "schema", version, "a whole number from 1 up")
    if version != SCHEMA:
        raise ProfileError(
            f"schema is {reprlib.repr(version)} and this headrouter reads up to {SCHEMA}:"
            " upgrade headrouter (pip install --upgrade headrouter)"
        )
    check_keys("metadata", metadata, SECTIONS)
    require(is_name(metadata["version"]), "version", metadata["version"], "a version")
    for name in ("versions", "results"):
        check_keys(name, metadata[name], (), more=True)
    for name, version in entries("versions", metadata["versions"]):
        require(is_name(version), name, version, "a version")


def check_model(model: ModelInfo, recipe: Recipe) -> None:
    """Raise where the model section holds what no model has, or does not fit the recipe."""
    for name in ("id", "family", "dtype"):
        value = getattr(model, name)
        require(is_name(value), f"model.{name}", value, f"a name of at most {LONGEST_NAME} letters")
    for name in ("layers", "heads", "kv_heads", "head_dim"):
        value = getattr(model, name)
        require(is_whole(value, 1), f"model.{name}", value, "a whole number from 1 up")
    most = model.heads <= MAX_HEADS
    require(most, "model.heads", model.heads, f"at most {MAX_HEADS}")
    portable = not (posixpath.isabs(model.id) or ntpath.isabs(model.id))
    require(portable, "model.id", model.id, "a Hub id or a folder's name, not an absolute path")
    revision, mark = model.revision, model.fingerprint
    require(revision is None or is_name(revision), "model.revision", revision, "a commit")
    require(mark is None or is_sha256(mark), "model.fingerprint", mark, "64 hexadecimal digits")
    divides = model.heads % model.kv_heads == 0
    require(divides, "model.kv_heads", model.kv_heads, f"a divisor of the {model.heads} heads")
    probed = model.probe_layer
    wanted = f"{recipe.layer - 1}, just before the pruning layer {recipe.layer}"
    require(is_whole(probed, 0) and probed == recipe.layer - 1, "model.probe_layer", probed, wanted)
    inside = recipe.layer < model.layers
    require(inside, "recipe.layer", recipe.layer, f"below the model's {model.layers} layers")


def check_calibration(calibration: Mapping[str, Any], model: ModelInfo) -> None:
    """Raise where the record of the calibration is incomplete or contradicts itself."""
    check_keys("calibration", calibration, CALIBRATION_KEYS, more=True)
    for name in ("dtype", "device", "attention", "decoder"):
        value = calibration[name]
        require(is_name(value), f"calibration.{name}", value, "a name")
    for name in ("samples", "sample_tasks", "tasks"):
        value = calibration[name]
        names = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
        require(names, f"calibration.{name}", value, "a list of names")
    manifest, seed = calibration["manifest"], calibration["seed"]
    known = manifest is None or is_sha256(manifest)
    require(known, "calibration.manifest", manifest, "64 hexadecimal digits or null")
    require(is_whole(seed, 0), "calibration.seed", seed, "a whole number from 0 up")
    same = calibration["dtype"] == model.dtype
    require(same, "calibration.dtype", calibration["dtype"], f"the model's {model.dtype}")
    ratios = calibration["ratios"]
    valid = isinstance(ratios, list) and all(is_real(ratio) and ratio < 1 for ratio in ratios)
    require(valid, "calibration.ratios", ratios, "a list of numbers in [0, 1)")
    _check_tasks(calibration)
    if "heard" in calibration:
        _check_heard(calibration["heard"])
    if "heads" in calibration:
        _check_heads(calibration["heads"])
    check_keys("calibration.intervals", calibration.get("intervals", {}), (), more=True)
    for name, interval in entries("calibration.intervals", calibration.get("intervals", {})):
        check_pair(name, interval)


def _check_heard(heard: Any) -> None:
    """Raise unless each entry is the digest of a prompt and the fingerprint of a sound."""
    wanted = "a list of pairs of 16 and 64 hexadecimal digits"
    pairs = isinstance(heard, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in heard
    )
    require(pairs, "calibration.heard", heard, wanted)
    sound = all(_HEARD.fullmatch("-".join(pair)) for pair in heard)
    require(sound, "calibration.heard", heard, wanted)


def _check_heads(heads: Any) -> None:
    """Raise unless the record of the head scores says how they came about."""
    check_keys("calibration.heads", heads, ("top", "recordings", "words", "stability", "source"))
    for name in ("top", "recordings", "words"):
        require(is_whole(heads[name], 1), f"calibration.heads.{name}", heads[name], "from 1 up")
    stable, source = heads["stability"], heads["source"]
    known = stable is None or (is_number(stable) and -1 <= stable <= 1)
    require(known, "calibration.heads.stability", stable, "a correlation in [-1, 1] or null")
    require(is_name(source), "calibration.heads.source", source, "a name")


def _check_tasks(calibration: Mapping[str, Any]) -> None:
    samples, sample_tasks = calibration["samples"], calibration["sample_tasks"]
    tasks, groups = calibration["tasks"], calibration["groups"]
    each = len(sample_tasks) == len(samples)
    require(each, "calibration.sample_tasks", sample_tasks, f"{len(samples)} long, one a sample")
    require(len(set(tasks)) == len(tasks), "calibration.tasks", tasks, "free of repetition")
    shown = len(tasks) <= MAX_TASKS and all(map(is_name, tasks))
    wanted = f"at most {MAX_TASKS} names of at most {LONGEST_NAME} letters"
    require(shown, "calibration.tasks", tasks, wanted)
    foreign = sorted(set(sample_tasks) - set(tasks))
    require(not foreign, "calibration.sample_tasks", foreign, "in calibration.tasks")
    check_keys("calibration.groups", groups, tasks)
    for task, group in groups.items():
        known = (GROUPS[0], GROUPS[2], "pooled")
        require(group in known, f"calibration.groups.{task}", group, f"one of {', '.join(known)}")


def tensor_sizes(
    model: ModelInfo, recipe: Recipe, calibration: Mapping[str, Any]
) -> dict[str, int]:
    """Return how long each lettered axis of :data:`TENSORS` is."""
    return {
        "H": model.heads,
        "H+1": model.heads + 1,
        "L": model.layers,
        "K": model.kv_heads,
        "S": len(calibration["samples"]),
        "A": len(recipe.ablation),
        "T": len(calibration["tasks"]),
        "R": len(calibration["ratios"]),
    }


def check_layout(layout: Layout, sizes: Mapping[str, int], recipe: Recipe) -> None:
    """Raise unless names, dtypes and shapes are those of :data:`TENSORS`.

    Those of :data:`OPTIONAL` may be missing where no route of the recipe takes them.
    """
    routes = {recipe.route, *(part["route"] for part in recipe.selector_parameters.values())}
    needed = {NEEDED[route] for route in routes if route in NEEDED}
    wanted = [name for name in TENSORS if name not in OPTIONAL or name in needed]
    check_keys("the bundle", layout, wanted, optional=OPTIONAL)
    for name, (dtype, axes) in TENSORS.items():
        if name not in layout:
            continue
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in axes]
        found = f"{layout[name][0]} {list(layout[name][1])}"
        if found != f"{dtype} {shape}":
            raise ProfileError(f"{name} is {found[:80]}; it must be {dtype} {shape}")


def check_values(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise where a tensor holds what none of its kind can hold."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ProfileError(f"{name} holds NaN or infinity; calibrate again")
        low, high = BOUNDS.get(name, (-math.inf, math.inf))
        for value in (tensor.min().item(), tensor.max().item()) if tensor.numel() else ():
            require(low <= value <= high, f"a value of {name}", value, f"in [{low:g}, {high:g}]")
    for vector in VECTORS:
        if f"weights.{vector}" in tensors:
            _check_weights(f"weights.{vector}", tensors[f"weights.{vector}"])


def _check_weights(name: str, weights: torch.Tensor) -> None:
    lowest, total = weights.min().item(), weights.double().sum().item()
    require(lowest >= 0, f"the lowest of {name}", lowest, "0 or above")
    near = abs(total - 1) <= WEIGHT_TOLERANCE
    require(near, f"the sum of {name}", total, f"1, within {WEIGHT_TOLERANCE}")
