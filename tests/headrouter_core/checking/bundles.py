"""Small sound profiles for tests, and the pieces to spoil them with."""

import json
import struct

import torch

from headrouter_core.profile.model_info import ModelInfo
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.recipe import Recipe

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


def make_results(methods=("headrouter", "frame"), ratios=("0.6", "0.9")):
    def scores():
        return dict.fromkeys(methods, 0.5)

    comparison = {
        "method": methods[0],
        "rival": methods[-1],
        "difference": -0.01,
        "low": -0.02,
        "high": 0.01,
        "verdict": "tie",
    }
    part = {"spread": 0.1, "mixing": {"semantic": 0.2, "uniform": 0.3, "acoustic": 0.5}}
    change = {
        "centers": {"semantic": 0.1, "uniform": 0.1, "acoustic": 0.2},
        "bandwidth": 0.1,
        "weights": {"semantic": 0.1, "acoustic": 0.1},
    }
    return {
        "samples": 3,
        "unpruned": {"nll": 0.4, "accuracy": 0.7},
        "ratios": {
            ratio: {"nll": scores(), "accuracy": scores(), "comparisons": [comparison]}
            for ratio in ratios
        },
        "by_length": [{"audio_tokens": [250, 252], "samples": 3, "semantic": part}],
        "stability": {"per_category": {"small": 10, "large": 25}, "change": {"0": change}},
    }


def make_profile(**changes):
    parts = {
        "tensors": make_tensors(),
        "model": make_info(),
        "recipe": Recipe(prefilter_exponent=0.5),
        "calibration": make_calibration(),
        "versions": {"torch": torch.__version__},
        "results": make_results(),
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
