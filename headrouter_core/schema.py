"""Schema 1 of the bundle: its sections and tensors, and which values they may hold.

Everything here raises :class:`ProfileError`. The recipe checks itself.
"""

from __future__ import annotations

import ntpath
import posixpath
import reprlib
from collections.abc import Mapping
from typing import Any

import torch

from headrouter_core.checks import check_keys, is_real, is_sha256, is_whole, require
from headrouter_core.errors import ProfileError
from headrouter_core.model_info import ModelInfo
from headrouter_core.recipe import Recipe
from headrouter_core.routing import GROUPS

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
    "groups",  # task -> semantic or acoustic
    "ratios",  # R pruning ratios, the third axis of the ablation tensors
    "seed",
    "dtype",  # what the model computed in
    "device",
    "attention",  # attention implementation
    "decoder",  # what decoded and resampled the audio
)

#: dtype and shape of every tensor: H heads, S samples, A ablation kinds, T tasks, R ratios.
TENSORS: dict[str, tuple[torch.dtype, tuple[str | int, ...]]] = {
    "weights.semantic": (torch.float32, ("H",)),
    "weights.uniform": (torch.float32, ("H",)),
    "weights.acoustic": (torch.float32, ("H",)),
    "centers": (torch.float64, (3,)),
    "bandwidth": (torch.float64, (1,)),
    "calibration.selectivity": (torch.float32, ("S", "H")),
    "calibration.spread": (torch.float64, ("S",)),
    "calibration.audio_tokens": (torch.int64, ("S",)),
    "calibration.ablation": (torch.float32, ("A", "T", "R", "H")),
    "calibration.ablation_stderr": (torch.float32, ("A", "T", "R", "H")),
}

#: How far the sum of a weight vector may lie from 1.
WEIGHT_TOLERANCE = 1e-4


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
    require(isinstance(metadata["version"], str), "version", metadata["version"], "a string")
    for name in ("versions", "results"):
        check_keys(name, metadata[name], (), more=True)


def check_model(model: ModelInfo, recipe: Recipe) -> None:
    """Raise where the model section holds what no model has, or does not fit the recipe."""
    for name in ("id", "family", "dtype"):
        value = getattr(model, name)
        require(isinstance(value, str) and value != "", f"model.{name}", value, "a name")
    for name in ("layers", "heads", "kv_heads", "head_dim"):
        value = getattr(model, name)
        require(is_whole(value, 1), f"model.{name}", value, "a whole number from 1 up")
    portable = not (posixpath.isabs(model.id) or ntpath.isabs(model.id))
    require(portable, "model.id", model.id, "a Hub id or a folder's name, not an absolute path")
    revision, mark = model.revision, model.fingerprint
    require(revision is None or isinstance(revision, str), "model.revision", revision, "a commit")
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
        require(isinstance(value, str), f"calibration.{name}", value, "a string")
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


def _check_tasks(calibration: Mapping[str, Any]) -> None:
    samples, sample_tasks = calibration["samples"], calibration["sample_tasks"]
    tasks, groups = calibration["tasks"], calibration["groups"]
    each = len(sample_tasks) == len(samples)
    require(each, "calibration.sample_tasks", sample_tasks, f"{len(samples)} long, one a sample")
    require(len(set(tasks)) == len(tasks), "calibration.tasks", tasks, "free of repetition")
    foreign = sorted(set(sample_tasks) - set(tasks))
    require(not foreign, "calibration.sample_tasks", foreign, "in calibration.tasks")
    check_keys("calibration.groups", groups, tasks)
    for task, group in groups.items():
        known = group in (GROUPS[0], GROUPS[2])
        require(known, f"calibration.groups.{task}", group, f"{GROUPS[0]} or {GROUPS[2]}")


def tensor_sizes(
    model: ModelInfo, recipe: Recipe, calibration: Mapping[str, Any]
) -> dict[str, int]:
    """Return how long each lettered axis of :data:`TENSORS` is."""
    return {
        "H": model.heads,
        "S": len(calibration["samples"]),
        "A": len(recipe.ablation),
        "T": len(calibration["tasks"]),
        "R": len(calibration["ratios"]),
    }


def check_tensors(tensors: Mapping[str, torch.Tensor], sizes: Mapping[str, int]) -> None:
    """Raise unless the tensors are exactly those of :data:`TENSORS`, with sensible values."""
    check_keys("the bundle", tensors, tuple(TENSORS))
    for name, (dtype, axes) in TENSORS.items():
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in axes]
        tensor = tensors[name]
        found, wanted = f"{tensor.dtype} {list(tensor.shape)}", f"{dtype} {shape}"
        if found != wanted:
            raise ProfileError(f"{name} is {found}; it must be {wanted}")
        if not tensor.isfinite().all():
            raise ProfileError(f"{name} holds NaN or infinity; calibrate again")
    for group in GROUPS:
        _check_weights(f"weights.{group}", tensors[f"weights.{group}"])
    bandwidth = tensors["bandwidth"].item()
    require(bandwidth > 0, "bandwidth", bandwidth, "above 0")


def _check_weights(name: str, weights: torch.Tensor) -> None:
    lowest, total = weights.min().item(), weights.double().sum().item()
    require(lowest >= 0, f"the lowest of {name}", lowest, "0 or above")
    near = abs(total - 1) <= WEIGHT_TOLERANCE
    require(near, f"the sum of {name}", total, f"1, within {WEIGHT_TOLERANCE}")
