"""A model without its weights: its front end, and its modules on the meta device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from calibrate.models import named
from calibrate.models.checkpoints import damage_told
from calibrate.models.frontends.base import FrontEnd
from calibrate.models.placement import DTYPES
from headrouter_core import families
from headrouter_core.errors import UsageError
from headrouter_core.families.base import Anatomy


@dataclass(frozen=True, eq=False)
class Blueprint:
    """What is known of a model before it is loaded."""

    name: str
    id: str
    """Hub id, or the folder's name; see :class:`calibrate.models.named.Source`."""
    frontend: FrontEnd
    anatomy: Anatomy
    dtype: torch.dtype
    remarks: tuple[str, ...]
    """What the numbers rest on, or leave out, for people."""

    @property
    def context(self) -> int:
        """Tokens that the model takes: what tokenizer and positions both allow."""
        text = self.anatomy.root.config.get_text_config()  # type: ignore[union-attr,operator]
        positions = getattr(text, "max_position_embeddings", None)
        most = int(self.frontend.tokenizer.model_max_length)
        return most if positions is None else min(most, int(positions))


def draw(name: str, *, revision: str | None, dtype: str, trust_remote_code: bool) -> Blueprint:
    """Build a model on the meta device from its configuration; no weights are read or fetched.

    Args:
        name: alias, Hub id or local folder; see :func:`calibrate.models.named.source`.
        revision: branch, tag or commit on the Hub.
        dtype: of the weights; ``auto`` is what the configuration names.
        trust_remote_code: let code from the model's repository run.

    Raises:
        UsageError: an unknown name, folder or dtype, or a revision of a local folder.
        ModelError: configuration or front end cannot be had or read.
        UnsupportedModelError: such models cannot be pruned.
    """
    where = named.source(name)
    if dtype != "auto" and dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r} is not known; say auto, {', '.join(DTYPES)}")
    folder = named.fetched(name, where, revision, code=trust_remote_code, weights=False)
    with damage_told(folder):
        frontend = FrontEnd.from_pretrained(folder, trust_remote_code=trust_remote_code)
        config = _config(frontend, folder, trust_remote_code)
        kind, remarks = _dtype(config, dtype)
        anatomy = families.locate(_on_meta(frontend, config, kind))
    adapter = folder / frontend.adapter / "adapter_config.json"
    if adapter.is_file() or frontend.adapter:
        remarks.append("the LoRA for audio is not counted")
    return Blueprint(where.name, where.id, frontend, anatomy, kind, tuple(remarks))


def _config(frontend: FrontEnd, folder: Path, trust_remote_code: bool) -> Any:
    """Return the configuration of the part that hears and answers."""
    import transformers

    whole = transformers.AutoConfig.from_pretrained(
        folder, trust_remote_code=trust_remote_code, local_files_only=True
    )
    return frontend.model_config(whole)


def _on_meta(frontend: FrontEnd, config: Any, dtype: torch.dtype) -> Any:
    import transformers

    kind = getattr(transformers, frontend.model_class)
    with torch.device("meta"):
        return kind._from_config(config, dtype=dtype).eval()


def _dtype(config: Any, wanted: str) -> tuple[torch.dtype, list[str]]:
    """Return the dtype of the weights, and what should be said of it."""
    remarks = []
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        remarks.append("the checkpoint is quantised; its weights are counted as if it were not")
        # only its sizes are asked for, and no quantiser is needed for them
        del config.quantization_config
    if wanted != "auto":
        return DTYPES[wanted], remarks
    found = [getattr(part, "dtype", None) for part in (config, config.get_text_config())]
    known = next((dtype for dtype in found if isinstance(dtype, torch.dtype)), None)
    if known is None:
        remarks.append("the configuration names no dtype: float32 is assumed (--dtype)")
    return known or torch.float32, remarks
