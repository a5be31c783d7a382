"""Reading a checkpoint's weights: all that the model needs, and a report that nothing is amiss."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from calibrate.errors import ModelError
from calibrate.frontend import FrontEnd

_AGAIN = "download or save the model again"


def read_weights(
    frontend: FrontEnd, folder: Path, dtype: torch.dtype | None, trust_remote_code: bool
) -> Any:
    """Load the part of a checkpoint that its front end speaks to: all of it, and nothing else.

    Raises:
        ModelError: weights are missing, left over, damaged, or of another shape.
    """
    import transformers
    from safetensors import SafetensorError

    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
        model, report = getattr(transformers, frontend.model_class).from_pretrained(
            folder,
            config=frontend.model_config(config),
            dtype=dtype or "auto",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below
            local_files_only=True,
            use_safetensors=True,
        )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"the model in {folder} cannot be loaded ({type(error).__name__}: {reason}); {_AGAIN}"
        ) from error
    unused = frontend.unused_weights
    left_over = [name for name in report["unexpected_keys"] if not name.startswith(unused)]
    _refuse(folder, "are missing", report["missing_keys"])
    _refuse(folder, "belong to no part of it", left_over)
    _refuse(folder, "have another shape", [entry[0] for entry in report["mismatched_keys"]])
    return model


def _refuse(folder: Path, what: str, weights: Iterable[str]) -> None:
    names = sorted(weights)
    if names:
        raise ModelError(
            f"the checkpoint in {folder} does not fit its configuration: {len(names)} weights"
            f" {what}, the first is {names[0]}; {_AGAIN}"
        )


def settle_generation(model: Any, frontend: FrontEnd) -> None:
    """Stop at the end of a turn: a full checkpoint's settings are those of the talker's wrapper."""
    settings, tokenizer = model.generation_config, frontend.tokenizer
    if settings.eos_token_id is None:
        settings.eos_token_id = tokenizer.eos_token_id
    if settings.pad_token_id is None:
        settings.pad_token_id = tokenizer.pad_token_id
