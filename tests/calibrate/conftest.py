"""A tiny random thinker saved as real checkpoints are, a profile of it, and real recordings."""

import json
import shutil

import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from headrouter_core.families import model_info
from headrouter_core.profile.profile import Profile, Recipe
from tiny_omni.architecture import make_feature_extractor, make_model, make_tokenizer
from tiny_omni.clips import load_clips
from tiny_omni.questions import corpus

HEADS = 16


@pytest.fixture(scope="session")
def thinker(tmp_path_factory):
    """Folder of a thinker with its front end, in bfloat16."""
    folder = tmp_path_factory.mktemp("models") / "small-thinker"
    tokenizer = make_tokenizer(corpus())
    make_model(tokenizer, seed=0).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    make_feature_extractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def full_omni(thinker, tmp_path_factory):
    """Folder of a full checkpoint: the thinker under its prefix in two shards, a talker beside."""
    folder = tmp_path_factory.mktemp("models") / "small-omni"
    folder.mkdir()
    weights = load_file(thinker / "model.safetensors")
    prefixed = {f"thinker.{name}": tensor for name, tensor in weights.items()}
    names = sorted(prefixed)
    others = {"talker.model.norm.weight": torch.ones(4), "token2wav.code.weight": torch.ones(4)}
    shards = (
        {name: prefixed[name] for name in names[::2]},
        {name: prefixed[name] for name in names[1::2]} | others,
    )
    places = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file(shard, folder / file, {"format": "pt"})
        places |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "model_type": "qwen2_5_omni",
        "architectures": ["Qwen2_5OmniModel"],
        "enable_audio_output": True,
        "thinker_config": json.loads((thinker / "config.json").read_text()),
    }
    (folder / "config.json").write_text(json.dumps(config))
    for file in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        shutil.copy(thinker / file, folder)
    template = {"chat_template": (thinker / "chat_template.jinja").read_text()}
    (folder / "chat_template.json").write_text(json.dumps(template))
    return folder


@pytest.fixture(scope="session")
def loaded(thinker):
    from calibrate.models.named import load

    return load(str(thinker), device="cpu")


@pytest.fixture(scope="session")
def profile(loaded):
    """A sound profile of the small thinker; its weights are drawn, not calibrated."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.rand(3, HEADS, generator=generator)
    weights = drawn / drawn.sum(1, keepdim=True)
    zeros = torch.zeros(2, 2, 1, HEADS)
    return Profile(
        tensors={
            "weights.semantic": weights[0],
            "weights.uniform": torch.full((HEADS,), 1 / HEADS),
            "weights.acoustic": weights[2],
            "centers": torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64),
            "bandwidth": torch.tensor([0.01], dtype=torch.float64),
            "calibration.selectivity": torch.zeros(2, HEADS),
            "calibration.spread": torch.zeros(2, dtype=torch.float64),
            "calibration.audio_tokens": torch.tensor([250, 250]),
            "calibration.ablation": zeros,
            "calibration.ablation_stderr": zeros.clone(),
        },
        model=model_info(loaded.model, 2),
        recipe=Recipe(),
        calibration={
            "manifest": None,
            "samples": ["a", "b"],
            "sample_tasks": ["digits", "event"],
            "tasks": ["digits", "event"],
            "groups": {"digits": "semantic", "event": "acoustic"},
            "ratios": [0.6],
            "seed": 0,
            "dtype": "float32",
            "device": "cpu",
            "attention": "sdpa",
            "decoder": "none",
        },
    )


@pytest.fixture
def profile_file(profile, tmp_path):
    path = tmp_path / "drawn.safetensors"
    profile.save(path)
    return path


@pytest.fixture(scope="session")
def clip():
    """A sentence of the embedded audio, longer than 3 seconds: 16 kHz mono, Ogg Vorbis."""
    sentences = (clip for clip in load_clips("calibration") if clip.kind == "english")
    paths = (clip.path for clip in sentences)
    return next(path for path in paths if soundfile.info(path).duration > 3)


@pytest.fixture(scope="session")
def recordings(clip, tmp_path_factory):
    """The same 3 seconds as wav (44.1 kHz stereo), mp3, flac (48 kHz) and ogg (22.05 kHz)."""
    import numpy as np
    import soxr

    folder = tmp_path_factory.mktemp("audio")
    samples, rate = soundfile.read(clip, frames=48_000, dtype="float32")
    paths = {}
    for name, target, channels in (
        ("wav", 44_100, 2),
        ("mp3", 44_100, 2),
        ("flac", 48_000, 1),
        ("ogg", 22_050, 2),
    ):
        resampled = soxr.resample(samples, rate, target)
        paths[name] = folder / f"speech.{name}"
        soundfile.write(paths[name], np.stack([resampled] * channels, 1), target)
    return paths
