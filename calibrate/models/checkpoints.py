"""Reading a checkpoint's weights: all that the model needs, and a report that nothing is amiss."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from calibrate.models.frontends.base import FrontEnd
from calibrate.terminal.errors import ModelError, first_line
from calibrate.terminal.exits import is_out_of_memory
from headrouter_core import families
from headrouter_core.errors import HeadRouterError

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

    adapter = folder / frontend.adapter
    adapted = (adapter / "adapter_config.json").is_file()
    if adapted and importlib.util.find_spec("peft") is None:
        raise ModelError(
            f"{adapter} holds a LoRA that this model hears with, and peft, which loads it, is not"
            " installed; install it: pip install peft"
        )
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
        with _without_adapter(folder) as base:
            model, report = getattr(transformers, frontend.model_class).from_pretrained(
                base,
                config=frontend.model_config(config),
                dtype=dtype or "auto",
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below
                local_files_only=True,
                use_safetensors=True,
            )
        lora = model.load_adapter(str(adapter), adapter_name="audio") if adapted else None
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = first_line(error)
        raise ModelError(
            f"the model in {folder} cannot be loaded ({type(error).__name__}: {reason}); {_AGAIN}"
        ) from error
    unused = frontend.unused_weights
    left_over = [name for name in report["unexpected_keys"] if not name.startswith(unused)]
    _refuse(folder, "are missing", report["missing_keys"])
    _refuse(folder, "belong to no part of it", left_over)
    _refuse(folder, "have another shape", [entry[0] for entry in report["mismatched_keys"]])
    if lora is not None:
        # of the model's own weights none is among a LoRA's, and so all are missed
        missing = [name for name in lora.missing_keys if "lora" in name]
        _refuse(adapter, "are missing", missing)
        _refuse(adapter, "belong to no part of it", lora.unexpected_keys)
    return model


@contextlib.contextmanager
def damage_told(folder: Path) -> Iterator[None]:
    """Turn what a damaged or odd checkpoint raises, which may be anything, into one error.

    Raises:
        ModelError: naming the folder and what was raised.
    """
    try:
        yield
    except (HeadRouterError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = first_line(error)
        raise ModelError(
            f"the model in {folder} cannot be loaded ({type(error).__name__}: {reason}); {_AGAIN}"
        ) from error


def check_shards(folder: Path) -> None:
    """Raise where the index of a checkpoint names weights that lie elsewhere than beside it.

    Raises:
        ModelError: such a name, or no index at all.
    """
    path = folder / "model.safetensors.index.json"
    if not path.is_file():
        return
    try:
        names = {str(name) for name in json.loads(path.read_text("utf-8"))["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is no index of weights ({error!r}); {_AGAIN}") from error
    outside = sorted(name for name in names if name in ("", ".", "..") or re.search(r"[/\\]", name))
    if outside:
        raise ModelError(
            f"{path} names {outside[0]!r}, which is no file beside it, and nothing outside a"
            f" model's folder is read; {_AGAIN}"
        )


def check_layers(model: Any, folder: Path) -> None:
    """Raise where a model has too few layers to be pruned between two.

    Raises:
        ModelError: naming how many it has.
    """
    layers = len(families.locate(model).layers)
    if layers < 2:
        raise ModelError(
            f"the model in {folder} has {layers} decoder layers, and pruning needs one before and"
            f" one behind it; {_AGAIN}"
        )


@contextlib.contextmanager
def _without_adapter(folder: Path) -> Iterator[Path]:
    """Give a folder with the same files, but for a LoRA that lies among them.

    Where transformers loads both at once, it reports on the LoRA only: nobody would know of weights
    that the model itself lacks.
    """
    if not (folder / "adapter_config.json").is_file():
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        for file in folder.iterdir():
            if not file.name.startswith("adapter_"):
                (Path(name) / file.name).symlink_to(file.resolve())
        yield Path(name)


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
        settings.eos_token_id = frontend.end_id
    if settings.pad_token_id is None:
        settings.pad_token_id = tokenizer.pad_token_id
