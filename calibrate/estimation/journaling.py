"""The journal of a calibration: beside its output, and gone when that is there."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from calibrate.estimation.bundling import LIBRARIES
from calibrate.estimation.samples.sample import Sample
from calibrate.models.named import Loaded
from calibrate.running.journal import Journal, opened
from calibrate.running.work import Work
from calibrate.sound.reading import DECODER
from calibrate.terminal.console import say
from calibrate.terminal.outputs import claim
from headrouter_core import __version__
from headrouter_core.families import model_info
from headrouter_core.profile.profile import Profile

#: Name of the line that says which profile came out, and hexadecimal digits of a digest.
_OUTCOME, _DIGITS = "profile", 16
#: Numbers of each weight that stand for all of them.
_WEIGHTS = 64


def path_of(output: Path) -> Path:
    """Return where the journal of a calibration lies."""
    return output.with_name(f"{output.name}.journal")


def header(
    loaded: Loaded, samples: Sequence[Sample], layer: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return what makes a calibration this one; results of another do not mix with it.

    Args:
        loaded: the model.
        samples: everything that may be asked, without the answers that are still to be given.
        layer: M.
        settings: what else decides about the profile, JSON-ready.
    """
    info = dataclasses.asdict(model_info(loaded.model, layer))
    return {
        "command": "calibrate",
        "samples": {sample.id: _digest_of(sample) for sample in samples},
        "order": _digest(json.dumps([sample.id for sample in samples]).encode()),
        **settings,
        "layer": layer,
        "model": {**info, "id": loaded.id, "revision": loaded.revision},
        "weights": _weights(loaded.model),
        "device": loaded.device.type,
        "attention": str(loaded.model.config._attn_implementation),
        "decoder": DECODER,
        "versions": {
            "headrouter": __version__,
            **{name: importlib.metadata.version(name) for name in LIBRARIES},
        },
    }


@dataclass(frozen=True)
class Run:
    """A calibration that goes on, or begins."""

    work: Work
    _journal: Journal
    _output: Path
    _force: bool

    def end(self, profile: Profile, save: Callable[..., None]) -> None:
        """Write what came out, unless it is there, by ``save(profile, output, force=…)``."""
        if not _is_written(self._journal, self._output):
            self._journal.write({"id": _OUTCOME, "digest": profile.digest})
            save(profile, self._output, force=self._force)
        self._journal.over = True


def claim_both(output: Path, *, force: bool, inputs: Iterable[Path]) -> tuple[Path, Path]:
    """Raise where output or journal could not be written; return where they lie.

    Where there is a journal the output may be there, too: :func:`going_on` tells whose it is.
    """
    inputs, kept = list(inputs), path_of(output)
    claim(output, force=force or kept.exists(), inputs=inputs)
    claim(kept, force=True, inputs=inputs)
    return output, kept


@contextlib.contextmanager
def going_on(output: Path, header: dict[str, Any], *, force: bool) -> Iterator[Run]:
    """Go on with the calibration whose journal lies beside the output, or begin it.

    Raises:
        UsageError: the journal is of another one, or the output is and is not to be replaced.
    """
    kept = path_of(output)
    with opened(kept, header, anew=force) as journal:
        if not _is_written(journal, output):
            claim(output, force=force)
        if journal.lines:
            say(f"going on with {kept}: what it holds is not done again")
        try:
            yield Run(Work(journal), journal, output, force)
        except KeyboardInterrupt:
            say(f"what was done is in {kept}; the same command goes on from there")
            raise


def _is_written(journal: Journal, output: Path) -> bool:
    """Whether the output is there already: killed before its journal was removed."""
    line = journal.lines.get(_OUTCOME)
    if line is None or not output.exists():
        return False
    return bool(hashlib.sha256(output.read_bytes()).hexdigest() == line["digest"])


def _digest_of(sample: Sample) -> str:
    row = (
        *(sample.task, sample.group, sample.system, sample.prompt, sample.answer),
        *(sample.cluster, sample.fold),
    )
    audio = np.ascontiguousarray(sample.read(), dtype="<f4")
    return _digest(json.dumps(row).encode() + audio.tobytes())


def _weights(model: nn.Module) -> str:
    """Digest of numbers from every weight: another training of a model changes nearly all."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // _WEIGHTS)].to("cpu", torch.float32)
        digest.update(f"{name}{list(tensor.shape)}{tensor.dtype}".encode())
        digest.update(some.numpy().tobytes())
    return digest.hexdigest()[:_DIGITS]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
