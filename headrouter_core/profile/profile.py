"""A profile: head weights, centers, bandwidth, the recipe, and how they came about."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from headrouter_core._version import __version__
from headrouter_core.basics.writing import write
from headrouter_core.errors import ProfileError, ProfileMismatchError
from headrouter_core.profile import bundle, report_schema, schema
from headrouter_core.profile.checks import check_keys
from headrouter_core.profile.model_info import ModelInfo, fingerprint
from headrouter_core.profile.recipe import Recipe
from headrouter_core.routing import GROUPS, VECTORS

__all__ = ["ModelInfo", "Profile", "Recipe", "fingerprint"]

_MODEL_KEYS = [entry.name for entry in fields(ModelInfo) if entry.name != "dtype"]

#: Without a common fingerprint, these tell two models apart.
_STRUCTURE = ("family", "layers", "kv_heads", "head_dim")


@dataclass(frozen=True, eq=False, kw_only=True)
class Profile:
    """A checked profile: an object of this class is sound, and so is every file it writes.

    Tensors are copied to the CPU, and handed out as copies: nobody can write into the profile's
    own. Metadata is copied by way of JSON; what is done to ``calibration``, ``versions`` and
    ``results`` afterwards reaches neither pruning nor a file.

    Raises:
        ProfileError: a tensor or field is missing, unknown, or holds what no profile may hold.
    """

    tensors: Mapping[str, torch.Tensor] = field(repr=False)
    """Under their names in the file; see :data:`headrouter_core.profile.schema.TENSORS`."""
    model: ModelInfo
    recipe: Recipe
    calibration: Mapping[str, Any] = field(repr=False)
    """See :data:`headrouter_core.profile.schema.CALIBRATION_KEYS`."""
    versions: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Library name -> version at calibration."""
    results: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What was measured on samples that took no part in any choice."""
    version: str = __version__
    """Version of headrouter that made the profile."""
    _content: bytes = field(init=False, repr=False)
    """The file; made once, of what was checked."""

    def __post_init__(self) -> None:
        metadata = json.loads(bundle.canonical_json(self._sections()))
        schema.check_sections(metadata)
        schema.check_model(self.model, self.recipe)
        schema.check_calibration(metadata["calibration"], self.model)
        report_schema.check_results(metadata["results"])
        for name in ("calibration", "versions", "results"):
            object.__setattr__(self, name, metadata[name])
        object.__setattr__(self, "recipe", Recipe.from_dict(metadata["recipe"]))
        sizes = schema.tensor_sizes(self.model, self.recipe, self.calibration)
        schema.check_layout(bundle.layout_of(self.tensors), sizes, self.recipe)
        tensors = {name: value.detach().cpu().clone() for name, value in self.tensors.items()}
        schema.check_values(tensors)
        object.__setattr__(self, "tensors", _Copies(tensors))
        object.__setattr__(self, "_content", bundle.to_bytes(tensors, metadata))
        if len(self._content) > bundle.MAX_BYTES:
            raise ProfileError(
                f"the profile would be {len(self._content)} bytes long, and the longest has"
                f" {bundle.MAX_BYTES}; calibrate on fewer samples"
            )

    @property
    def weights(self) -> torch.Tensor:
        """Head weights [3, H], float32: semantic, uniform, acoustic."""
        return torch.stack([self.tensors[f"weights.{group}"] for group in GROUPS])

    @property
    def vectors(self) -> torch.Tensor:
        """All head weights [V, H], float32: semantic, uniform, acoustic and, if held, pooled."""
        names = [f"weights.{vector}" for vector in VECTORS]
        return torch.stack([self.tensors[name] for name in names if name in self.tensors])

    @property
    def rule(self) -> torch.Tensor | None:
        """The routing rule on selectivities, float64 [H + 1], if the profile holds one."""
        return self.tensors.get("router.selectivity")

    @property
    def head_scores(self) -> torch.Tensor | None:
        """How closely KV heads follow speech, float32 [layers, KV heads], if the profile says."""
        return self.tensors.get("cache.heads")

    @property
    def centers(self) -> torch.Tensor:
        """Centers [3], float64: semantic, uniform, acoustic, in units of spread."""
        return self.tensors["centers"]

    @cached_property
    def bandwidth(self) -> float:
        """Bandwidth sigma_G, in units of spread."""
        return self.tensors["bandwidth"].item()

    def metadata(self) -> dict[str, Any]:
        """Return a copy of what stands in the file beside the tensors, but for the checksum."""
        copy: dict[str, Any] = json.loads(bundle.canonical_json(self._sections()))
        return copy

    def _sections(self) -> dict[str, Any]:
        model = asdict(self.model)
        return {
            "schema": schema.SCHEMA,
            "version": self.version,
            "model": {key: model[key] for key in _MODEL_KEYS},
            "recipe": self.recipe.to_dict(),
            "calibration": self.calibration,
            "versions": self.versions,
            "results": self.results,
        }

    @cached_property
    def digest(self) -> str:
        """The sha256 of the file that :meth:`save` writes."""
        return hashlib.sha256(self._content).hexdigest()

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the profile to ``path`` in one step; equal content gives equal bytes.

        Raises:
            UsageError: ``path`` exists and ``force`` is not given, or no file can be made there.
            HeadRouterError: the system refuses to write.
        """
        write(Path(path), self._content, force=force)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read and check the profile at ``path``; warn of one without a checksum.

        Raises:
            ProfileError: naming the file, the field and the value.
        """
        try:
            file = bundle.read(Path(path))
            profile = cls._from_bundle(file)
        except ProfileError as error:
            raise ProfileError(f"{os.fspath(path)}: {error}") from error
        if file.checksum is None:
            warnings.warn(
                f"{os.fspath(path)} has no checksum, so damage would not be noticed; it is of an"
                " older headrouter: calibrate again, or load it and save it",
                stacklevel=2,
            )
        return profile

    @classmethod
    def _from_bundle(cls, file: bundle.Bundle) -> Profile:
        metadata = file.metadata
        schema.check_sections(metadata)
        model, calibration = metadata["model"], metadata["calibration"]
        check_keys("model", model, _MODEL_KEYS)
        check_keys("calibration", calibration, schema.CALIBRATION_KEYS, more=True)
        info = ModelInfo(**model, dtype=calibration["dtype"])
        recipe = Recipe.from_dict(metadata["recipe"])
        schema.check_model(info, recipe)
        schema.check_calibration(calibration, info)
        # before any tensor is read: a header can promise far more than a profile holds
        sizes = schema.tensor_sizes(info, recipe, calibration)
        schema.check_layout(file.layout, sizes, recipe)
        return cls(
            tensors=file.tensors(),
            model=info,
            recipe=recipe,
            calibration=calibration,
            versions=metadata["versions"],
            results=metadata["results"],
            version=metadata["version"],
        )

    def check_model(self, info: ModelInfo, *, force: bool = False) -> list[str]:
        """Return warnings on using this profile with the model that ``info`` describes.

        Args:
            info: what the family read from the model, at the probe layer to be used.
            force: let a foreign fingerprint or probe layer pass as a warning.

        Raises:
            ProfileMismatchError: another number of heads, or, unless forced, another probe layer
                or other weights.
        """
        if info.heads != self.model.heads:
            raise ProfileMismatchError(
                f"the profile of {self.model.id} weighs {self.model.heads} heads and layer"
                f" {info.probe_layer} of {info.id} has {info.heads}; {_calibrate(info)}"
            )
        mismatches = self._mismatches(info)
        if mismatches and not force:
            raise ProfileMismatchError(
                f"the profile of {self.model.id} does not fit {info.id}:"
                f" {'; '.join(mismatches)}; {_calibrate(info)}, or pass force=True"
            )
        return mismatches + self._doubts(info)

    def _mismatches(self, info: ModelInfo) -> list[str]:
        """Return what shows that the profile belongs to another model or layer."""
        names = ["probe_layer"]
        names += ["fingerprint"] if self._comparable(info) else _STRUCTURE
        return [
            f"{name} is {getattr(info, name)}, calibrated was {getattr(self.model, name)}"
            for name in names
            if getattr(info, name) != getattr(self.model, name)
        ]

    def _doubts(self, info: ModelInfo) -> list[str]:
        """Return what differs without making the profile wrong."""
        doubts = []
        if not self._comparable(info):
            doubts.append(
                "the weights cannot be compared (quantised, adapted or offloaded?): "
                "the profile may not fit"
            )
        for name in ("revision", "dtype"):
            here, there = getattr(info, name), getattr(self.model, name)
            if here != there and None not in (here, there):
                doubts.append(f"{name} is {here}, calibrated was {there}")
        for library in ("torch", "transformers"):
            here, there = _installed(library), self.versions.get(library, "")
            # the local part names the build (+cpu, +cu126), not the version
            if there and here.partition("+")[0] != str(there).partition("+")[0]:
                doubts.append(f"{library} is {here}, calibrated was with {there}")
        return doubts

    def _comparable(self, info: ModelInfo) -> bool:
        return None not in (info.fingerprint, self.model.fingerprint)


class _Copies(Mapping[str, torch.Tensor]):
    """Tensors of which every reader gets a copy."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._tensors[name].clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


@functools.cache
def _installed(library: str) -> str:
    """Return a library's version; reading its metadata takes milliseconds."""
    return importlib.metadata.version(library)


def _calibrate(info: ModelInfo) -> str:
    return f"make one for it: headrouter calibrate --model {info.id} --layer {info.probe_layer + 1}"
