"""One vLLM engine, in this process, and the same model in transformers.

Nothing here runs where vLLM is not installed: ``make vllm`` has an environment with it.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; make vllm")

# before vLLM is imported: a small cache, in one process, on the threads that there are
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from benchmarks.serving import checkpoint as wide
from headrouter_core import AdaptiveSegments, Frame, HeadRouter, Segments, load_profile

from . import results

#: Of tiny-omni, whose weights are not those of the wide copy to the bit: it is forced on it.
PROFILE = "tiny-omni"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return wide.write(tmp_path_factory.mktemp("wide"))


@pytest.fixture(scope="session")
def reference(checkpoint):
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="sdpa"
    )
    return model.eval()


@pytest.fixture(scope="session")
def processor(checkpoint):
    from transformers import Qwen2_5OmniProcessor

    return Qwen2_5OmniProcessor.from_pretrained(checkpoint)


def make_engine(checkpoint: Any, headrouter: dict[str, Any] | None = None, **more: Any) -> Any:
    """Return an engine with headrouter switched on, and nothing pruned unless asked for."""
    from vllm import LLM

    started = {"profile": PROFILE, "force": True} if headrouter is None else headrouter
    sounds = {"image": 0, "video": 0, "audio": 3}
    given = {"max_num_seqs": 8, "max_model_len": 2048, "limit_mm_per_prompt": sounds} | more
    return LLM(
        str(checkpoint),
        dtype="float32",
        enforce_eager=True,
        seed=0,
        hf_overrides={"headrouter": started},
        **given,
    )


@pytest.fixture(scope="session")
def engine(checkpoint):
    return make_engine(checkpoint)


@pytest.fixture
def kept(monkeypatch):
    """Return a list to which the indices of kept tokens go, of one audio after the other."""
    from headrouter_vllm import choosing

    seen, plain = [], choosing.chosen

    def noting(*given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        indices, states = plain(*given)
        seen.append(indices.tolist())
        return indices, states

    monkeypatch.setattr(choosing, "chosen", noting)
    return seen


@pytest.fixture
def sides(_sides, kept):
    """Return a module's both engines, ``_sides``, which note what vLLM keeps."""
    _sides.kept = kept
    return _sides


def selector(method: str, **settings: Any) -> tuple[Any, int]:
    """Return the selector of the core that a method is, and the layer that it reads."""
    if method in ("frame", "segments"):
        return {"frame": Frame, "segments": Segments}[method](**settings), 0
    profile = load_profile(PROFILE)
    kind = {"headrouter": HeadRouter, "adaptive_segments": AdaptiveSegments}[method]
    return kind(profile, **settings), profile.recipe.layer


@pytest.fixture(scope="session")
def _table(request):
    table = results.Table()
    yield table
    if not table.rows:
        return
    print(f"\n{table}")
    if (path := request.config.getoption("record_vllm")) is not None:
        table.write(path)


@pytest.fixture
def record(_table):
    """Return what notes a line of the table that is printed at the end (``pytest -s``)."""
    return _table.note
