"""Small sound profiles for tests, and the pieces to spoil them with."""

import json
import struct

import torch

from headrouter_core.model_info import ModelInfo
from headrouter_core.profile import Profile
from headrouter_core.recipe import Recipe

HEADS, SAMPLES, RATIOS = 4, 3, [0.6, 0.9]


def make_info(**changes):
    facts = {
        "id": "tiny",
        "revision": "0123abc",
        "family": "qwen2_5_omni",
        "layers": 6,
        "heads": HEADS,
        "kv_heads": 2,
        "head_dim": 8,
        "probe_layer": 1,
        "fingerprint": "ab" * 32,
        "dtype": "float32",
    }
    return ModelInfo(**facts | changes)


def make_calibration(**changes):
    calibration = {
        "manifest": "cd" * 32,
        "samples": [f"sample-{number}" for number in range(SAMPLES)],
        "sample_tasks": ["digits", "events", "digits"],
        "tasks": ["digits", "events"],
        "groups": {"digits": "semantic", "events": "acoustic"},
        "ratios": RATIOS,
        "seed": 0,
        "dtype": "float32",
        "device": "cpu",
        "attention": "sdpa",
        "decoder": "soundfile 0.13, soxr 0.5",
    }
    return calibration | changes


def make_tensors(heads=HEADS, samples=SAMPLES, tasks=2, **changes):
    generator = torch.Generator().manual_seed(5)
    drawn = torch.rand(3, heads, generator=generator) + 0.1
    weights = drawn / drawn.sum(1, keepdim=True)
    ablation = torch.randn(2, 2, tasks, len(RATIOS), heads, generator=generator)
    tensors = {
        "weights.semantic": weights[0],
        "weights.uniform": torch.full((heads,), 1 / heads),
        "weights.acoustic": weights[2],
        "centers": torch.tensor([0.16, 0.125, 0.09], dtype=torch.float64),
        "bandwidth": torch.tensor([0.02], dtype=torch.float64),
        "calibration.selectivity": torch.rand(samples, heads, generator=generator),
        "calibration.spread": torch.rand(samples, generator=generator, dtype=torch.float64),
        "calibration.audio_tokens": torch.arange(250, 250 + samples),
        "calibration.ablation": ablation[0],
        "calibration.ablation_stderr": ablation[1].abs(),
    }
    return tensors | changes


def make_profile(**changes):
    parts = {
        "tensors": make_tensors(),
        "model": make_info(),
        "recipe": Recipe(prefilter_exponent=0.5),
        "calibration": make_calibration(),
        "versions": {"torch": torch.__version__},
        "results": {"nll": {"routed": 0.5, "uniform": 0.6}},
    }
    return Profile(**parts | changes)


def split(content):
    """Take a safetensors file apart: header as an object, data as bytes."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header, data):
    """Put a safetensors file together; the header may be anything."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data
