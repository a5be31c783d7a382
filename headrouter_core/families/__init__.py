"""Model families: where the layers, projections and audio tokens are. One small file a family.

What is known of a family can be listed without a model, and then without torch: functions that are
given a model import what only they need.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from headrouter_core.errors import UnsupportedModelError, UsageError
from headrouter_core.families import (
    gemma,
    muse_spark,
    phi4_multimodal,
    plain,
    qwen2_5_omni,
    qwen3_omni_moe,
)
from headrouter_core.families.attention import Attention, Projection
from headrouter_core.families.base import Anatomy, Family
from headrouter_core.families.refusals import objection

if TYPE_CHECKING:
    from torch import nn

    from headrouter_core.profile.model_info import ModelInfo

__all__ = [
    "FAMILIES",
    "Anatomy",
    "Attention",
    "Family",
    "Projection",
    "family_of",
    "locate",
    "model_info",
    "objection",
    "unwrap",
]

FAMILIES: tuple[Family, ...] = (
    qwen2_5_omni.FAMILY,
    qwen3_omni_moe.FAMILY,
    phi4_multimodal.FAMILY,
    *plain.FAMILIES,
    *gemma.FAMILIES,
    muse_spark.FAMILY,
)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers of ``torch.compile`` and PEFT."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
            inner = model.get_base_model()  # type: ignore[operator]
        if inner is None or inner is model:
            return model
        model = inner


def family_of(model: nn.Module) -> Family:
    """Return the family of a model.

    Raises:
        UsageError: it is no module.
        UnsupportedModelError: no known family has this architecture.
    """
    from torch import nn
    from transformers import PreTrainedConfig

    from headrouter_core.basics.arguments import shown

    if not isinstance(model, nn.Module):
        raise UsageError(
            f"model is {shown(model)}, which is no model; pass what from_pretrained of its class"
            " returned (of a pipeline, its .model)"
        )
    config = getattr(unwrap(model), "config", None)
    model_type = getattr(config, "model_type", None)
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    reason = objection(config) if isinstance(config, PreTrainedConfig) else None
    refused = "is of no known family" if reason is None else f"cannot be pruned: {reason}"
    known = ", ".join(family.name for family in FAMILIES)
    raise UnsupportedModelError(
        f"{type(model).__name__} (model_type {model_type!r}) {refused}; known families: {known}"
    )


def locate(model: nn.Module) -> Anatomy:
    """Find layers, projections and audio token ids of a loaded model.

    Raises:
        UsageError: it is no module.
        UnsupportedModelError: the architecture is not known, or a part cannot be pruned.
    """
    return family_of(model).locate(unwrap(model))


def model_info(model: nn.Module, layer: int) -> ModelInfo:
    """Read the facts that bind a profile to a model.

    Args:
        model: a loaded model of a known family.
        layer: M; the probe layer is ``layer`` - 1.

    Raises:
        UsageError: ``layer`` out of range.
        UnsupportedModelError: the architecture is not known, or a part cannot be pruned.
    """
    from headrouter_core.profile.model_info import ModelInfo, fingerprint

    anatomy = locate(model)
    anatomy.check_layer(layer)
    probed = anatomy.attentions[layer - 1]
    assert probed.keys is not None
    weights = probed.queries.weight(), probed.keys.weight()
    config = unwrap(model).config
    name = str(getattr(config, "name_or_path", ""))
    if os.path.exists(name):
        # a folder's name, never its place: a profile must not tell about the machine
        name = os.path.basename(os.path.abspath(name))
    return ModelInfo(
        id=name or anatomy.family.name,
        revision=getattr(config, "_commit_hash", None),
        family=anatomy.family.name,
        layers=len(anatomy.layers),
        heads=probed.queries.heads,
        kv_heads=probed.keys.heads,
        head_dim=probed.queries.head_dim,
        probe_layer=layer - 1,
        fingerprint=None if None in weights else fingerprint(weights),  # type: ignore[arg-type]
        dtype=str(anatomy.root.dtype).removeprefix("torch."),
    )
