"""Models by alias, Hub id or folder: found, checked and loaded whole, or refused with a reason."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from calibrate.commands.calibrate import Calibrate
from calibrate.commands.evaluate import Evaluate
from calibrate.commands.prune import Prune
from calibrate.models import hub, own
from calibrate.models.checkpoints import (
    check_layers,
    check_shards,
    damage_told,
    read_weights,
    settle_generation,
)
from calibrate.models.frontends.base import FrontEnd
from calibrate.models.placement import choose_device, choose_dtype
from calibrate.terminal.console import say, working
from headrouter_core.errors import UsageError
from headrouter_core.profile.shipped import HUB_ID

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

    class Generative(PreTrainedModel):
        """What every front end loads: a model that generates, as it is called here."""

        generation_config: GenerationConfig

        def generate(self, *args: torch.Tensor, **options: Any) -> Any:
            """Token ids [B, L], or with ``return_dict_in_generate`` an output that has them."""


#: Short names of models on the Hub.
HUB_ALIASES = {
    "qwen2.5-omni-3b": "Qwen/Qwen2.5-Omni-3B",
    "qwen2.5-omni-7b": "Qwen/Qwen2.5-Omni-7B",
}


@dataclass(frozen=True)
class Source:
    """Where a model comes from."""

    name: str
    """What its profile is called: the alias, else the last part of Hub id or path."""
    id: str
    """Name of an own model, Hub id, or the folder's name: never an absolute path."""
    folder: Path | None
    """The local folder, which ``own.bring`` may have to fill; ``None`` for a model on the Hub."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model that is ready to answer."""

    model: Generative
    frontend: FrontEnd
    name: str
    """See :class:`Source`."""
    id: str
    revision: str | None
    """Commit of the weights, for models of the Hub."""
    device: torch.device
    dtype: torch.dtype
    reasons: tuple[str, ...]
    """The choices that were made, each with its reason, for people."""

    def place(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return inputs on the model's device, features in its dtype."""
        return {
            name: value.to(self.device, self.dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
        }


def source(name: str) -> Source:
    """Find out what ``name`` stands for: an alias, a folder or a Hub id, in this order.

    Raises:
        UsageError: none of these, or a folder that is not there.
    """
    if name in own.NAMES:
        return Source(name, name, own.folder(name))
    if name.lower() in HUB_ALIASES:
        return Source(name.lower(), HUB_ALIASES[name.lower()], None)
    # not Path's own methods, which raise for names that no file can have and for unknown users
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path):
        folder = path.resolve()
        return Source(folder.name, folder.name, path)
    if os.path.exists(path) or not HUB_ID.fullmatch(name):
        raise UsageError(_unknown(name, path))
    aliases = {id_.lower(): alias for alias, id_ in HUB_ALIASES.items()}
    return Source(aliases.get(name.lower(), name.rpartition("/")[2]), name, None)


def fetched(
    name: str, where: Source, revision: str | None, *, code: bool, weights: bool = True
) -> Path:
    """Return the folder of a model with all that is needed in it, fetched or built if need be.

    Args:
        name: as it was asked for.
        where: its :func:`source`.
        revision: branch, tag or commit on the Hub.
        code: fetch Python files too, for ``trust_remote_code``.
        weights: fetch these too.

    Raises:
        UsageError: a revision of a local folder.
        ModelError: it cannot be had.
    """
    if where.folder is None:
        return hub.fetch(where.id, revision, code=code, weights=weights)
    if revision is not None:
        raise UsageError(f"{name} is a local folder: it has no revision {revision!r}")
    if name in own.NAMES:
        own.bring(name)
    return where.folder


def load(
    name: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    ready: Callable[[FrontEnd], None] | None = None,
) -> Loaded:
    """Load the part of a model that hears and answers, with its front end.

    Args:
        name: alias, Hub id or local folder; a full Omni checkpoint's talker is never read.
        revision: branch, tag or commit of a model on the Hub.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        dtype: ``auto`` (float32 on a CPU, else the checkpoint's), ``float32``, ``bfloat16``, …
        trust_remote_code: let code from the model's repository run.
        ready: given the front end before the weights are read; may raise to do without them.

    Raises:
        UsageError: an unknown name, folder, device or dtype, or a revision of a local folder.
        ModelError: the weights cannot be had, or are incomplete or damaged.
        UnsupportedModelError: no front end knows this kind of model.
    """
    where = source(name)
    place, device_reason = choose_device(device)
    wanted, dtype_reason = choose_dtype(dtype, place)
    folder = fetched(name, where, revision, code=trust_remote_code)
    commit = None if where.folder else folder.name
    check_shards(folder)
    with damage_told(folder):
        frontend = FrontEnd.from_pretrained(folder, trust_remote_code=trust_remote_code)
    if ready is not None:
        ready(frontend)
    with damage_told(folder):
        model = read_weights(frontend, folder, wanted, trust_remote_code).to(place).eval()
        frontend.check_model(model)
        settle_generation(model, frontend)
        check_layers(model, folder)
    # what the core's model_info reads: a snapshot's folder is not the model's name
    model.config.name_or_path, model.config._commit_hash = where.id, commit
    return Loaded(
        model=model,
        frontend=frontend,
        name=where.name,
        id=where.id,
        revision=commit,
        device=place,
        dtype=model.dtype,
        reasons=(
            f"model {where.id}" + (f" at {commit}" if commit else ""),
            f"device {place}: {device_reason}",
            f"dtype {str(model.dtype).removeprefix('torch.')}: {dtype_reason}",
        ),
    )


def load_asked(
    request: Calibrate | Evaluate | Prune, ready: Callable[[FrontEnd], None] | None = None
) -> Loaded:
    """Load the model that a command names under a spinner, and say what was chosen and why.

    Args:
        request: which, and how.
        ready: see :func:`load`.

    Raises:
        UsageError, ModelError, UnsupportedModelError: see :func:`load`.
    """
    with working(f"loading {request.model}"):
        loaded = load(
            request.model,
            revision=request.revision,
            device=request.device,
            dtype=request.dtype,
            trust_remote_code=request.trust_remote_code,
            ready=ready,
        )
    for reason in loaded.reasons:
        say(reason)
    return loaded


def _unknown(name: str, path: Path) -> str:
    known = [*own.NAMES, *HUB_ALIASES]
    if os.path.isfile(path):
        return f"{name} is a file; --model takes the folder that holds the model"
    if name.startswith((".", "~", os.sep)) or name.count("/") > 1:
        return f"there is no folder {name}; check the path, or use one of {', '.join(known)}"
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return (
        f"there is no model {name!r}.{hint} A model is one of {', '.join(known)}, a Hub id like"
        " Qwen/Qwen2.5-Omni-3B, or a local folder"
    )
