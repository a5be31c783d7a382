"""What ``headrouter prune`` found out about one recording, and its two files' worth of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from calibrate.models.asking import Answer
from calibrate.models.named import Loaded
from calibrate.sound.timeline import spans, times
from headrouter_core.engine.choice.trace import Entry
from headrouter_core.profile.bundle import canonical_json
from headrouter_core.profile.profile import Profile
from headrouter_core.routing import VECTORS

#: The metadata key of ``--output``.
KEY = "headrouter_pruning"


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """One recording, one question, two answers."""

    file: Path
    samples: np.ndarray
    """float32 [n], mono at the front end's rate."""
    warnings: tuple[str, ...]
    """What is odd about the recording."""
    question: str
    entry: Entry
    ratio: float
    method: str
    layer: int
    answer: Answer
    answer_unpruned: Answer
    prefill_seconds: float
    """Median over ``prefill_runs`` warm runs, pruned."""
    prefill_seconds_unpruned: float
    prefill_runs: int
    loaded: Loaded
    profile: Profile | None

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.samples) / self.loaded.frontend.sample_rate

    @property
    def kept(self) -> list[int]:
        """Indices of the kept audio tokens."""
        return self.entry.kept.tolist()

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Begin and end of each run of kept tokens, in seconds."""
        return spans(self.kept, self.loaded.frontend.seconds_per_token, self.seconds)

    @property
    def mixing(self) -> dict[str, float] | None:
        """Share of each of the profile's head weights, where the method routes; they sum to 1."""
        if self.entry.mixing is None:
            return None
        # one share for each vector that the profile holds: the last may be missing
        return dict(zip(VECTORS, self.entry.mixing.tolist(), strict=False))

    @property
    def spread(self) -> float | None:
        """Spread, where the method routes."""
        return None if self.entry.spread is None else self.entry.spread.item()


def to_json(result: Result) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    loaded, profile = result.loaded, result.profile
    return {
        "file": str(result.file),
        "warnings": list(result.warnings),
        "question": result.question,
        "answer": result.answer.text,
        "answer_complete": result.answer.complete,
        "answer_unpruned": result.answer_unpruned.text,
        "answer_unpruned_complete": result.answer_unpruned.complete,
        "seconds_audio": result.seconds,
        "audio_tokens": result.entry.audio_tokens,
        "kept": len(result.kept),
        "kept_indices": result.kept,
        "kept_spans": [[round(edge, 6) for edge in span] for span in result.spans],
        "seconds_per_token": loaded.frontend.seconds_per_token,
        "ratio": result.ratio,
        "method": result.method,
        "layer": result.layer,
        "spread": result.spread,
        "mixing": result.mixing,
        "prefill_seconds": {
            "pruned": result.prefill_seconds,
            "unpruned": result.prefill_seconds_unpruned,
            "runs": result.prefill_runs,
        },
        "model": {
            "name": loaded.name,
            "id": loaded.id,
            "revision": loaded.revision,
            "device": str(loaded.device),
            "dtype": str(loaded.dtype).removeprefix("torch."),
        },
        "profile": None
        if profile is None
        else {"model": profile.model.id, "sha256": profile.digest},
    }


def to_bytes(result: Result) -> bytes:
    """Return what ``--output`` writes: a safetensors file.

    Tensors: ``indices`` int64 [k]; ``importance`` float32 [N_a], NaN where a token was not scored
    (everywhere, for methods that do not score); ``times`` float64 [k, 2], begin and end of each
    kept token in seconds. The metadata key ``headrouter_pruning`` holds canonical JSON. Equal
    results give equal bytes: how long things took is left out.
    """
    entry, seconds_per_token = result.entry, result.loaded.frontend.seconds_per_token
    importance = entry.importance
    if importance is None:
        importance = torch.full((entry.audio_tokens,), torch.nan)
    tensors = {
        "indices": entry.kept.cpu(),
        "importance": importance.float().cpu(),
        "times": torch.tensor(
            times(result.kept, seconds_per_token, result.seconds), dtype=torch.float64
        ),
    }
    facts = {
        name: value
        for name, value in to_json(result).items()
        if name not in ("kept_indices", "kept_spans", "prefill_seconds")
    }
    # the file's name and no more: where it lay is nobody's business
    facts["file"] = result.file.name
    return save(tensors, {KEY: canonical_json(facts)})
