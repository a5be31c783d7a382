"""What runs on threads, and what it should give."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from headrouter_core.pruning.context import prune

from ...checking.guarded import ONE
from ...checking.probes import Affinity
from ...tiny.models import batch

GREEDY = {"max_new_tokens": 3, "do_sample": False}


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def aside(function: Callable[[], Any]) -> Any:
    """Return what a function returns on a thread of its own."""
    results: list[Any] = []

    def run() -> None:
        results.append(function())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


def logits(model: Any, rows: list[list[int]] = ONE) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**batch(rows)).logits
    return found


def pruned(model: Any, ratio: float, rows: list[list[int]] = ONE) -> torch.Tensor:
    with prune(model, Affinity(), ratio):
        return logits(model, rows)
