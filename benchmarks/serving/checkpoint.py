"""tiny-omni as vLLM takes it on a CPU, exactly the same function.

Two changes. *Layout*: vLLM knows ``Qwen2_5OmniForConditionalGeneration``, with a ``thinker_config``
and weights under ``thinker.``, and its processor wants one for images named. *Width*: its attention
on CPUs takes heads of 32 and up, and it divides the hidden size by the heads; tiny-omni's have 16.
So states grow from 256 to 512 and the rest is zeros: rotary pairs (i, i + d/2) stay pairs, theta is
squared so that phases are what they were, queries grow by sqrt 2 for the scale of the scores, norms
shrink by sqrt 2 for a mean over twice as many.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

SOURCE = Path(__file__).parents[2] / "tiny_omni" / "model"
HIDDEN, HEADS, KV_HEADS, HEAD = 256, 16, 2, 16
WIDE, WIDE_HEAD = 2 * HIDDEN, 2 * HEAD
LONGEST = 8192


def write(folder: Path) -> Path:
    """Write the checkpoint and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("chat_template.jinja", "tokenizer.json", "generation_config.json"):
        shutil.copy(SOURCE / name, folder / name)
    _write_json(folder / "tokenizer_config.json", model_max_length=LONGEST)
    pictures = {"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 4}
    _write_json(
        folder / "preprocessor_config.json",
        image_processor_type="Qwen2VLImageProcessor",
        processor_class="Qwen2_5OmniProcessor",
        temporal_patch_size=2,
        merge_size=2,
        **pictures,
    )
    (folder / "config.json").write_text(json.dumps(_config(), indent=2))
    narrow = load_file(SOURCE / "model.safetensors")
    wide = {f"thinker.{name}": _widened(name, value.float()) for name, value in narrow.items()}
    save_file(wide, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _write_json(path: Path, **more: Any) -> None:
    path.write_text(json.dumps(json.loads((SOURCE / path.name).read_text()) | more))


def _config() -> dict[str, Any]:
    thinker = json.loads((SOURCE / "config.json").read_text())
    del thinker["architectures"], thinker["transformers_version"]
    text = thinker["text_config"]
    text |= {
        "hidden_size": WIDE,
        "rms_norm_eps": text["rms_norm_eps"] / 2,
        "max_position_embeddings": LONGEST,
    }
    theta = text["rope_parameters"]["rope_theta"]
    text["rope_parameters"] |= {"rope_theta": theta**2.0, "mrope_section": [2, 3, 11]}
    thinker["audio_config"]["output_dim"] = WIDE
    thinker["vision_config"]["out_hidden_size"] = WIDE
    return {
        "architectures": ["Qwen2_5OmniForConditionalGeneration"],
        "model_type": "qwen2_5_omni",
        "enable_audio_output": False,
        "dtype": "float32",
        "thinker_config": thinker | {"dtype": "float32"},
    }


def _widened(name: str, value: torch.Tensor) -> torch.Tensor:
    decoder = name.startswith("model.")
    if decoder and "q_proj" in name:
        value = _heads(value, HEADS, rotary=True) * math.sqrt(2)
    elif decoder and "k_proj" in name:
        value = _heads(value, KV_HEADS, rotary=True)
    elif decoder and "v_proj" in name:
        value = _heads(value, KV_HEADS, rotary=False)
    elif decoder and "o_proj" in name:
        value = _rows(_heads(value.mT.contiguous(), HEADS, rotary=False).mT)
    # what reads states has more columns, what writes them more rows
    reads = ("q_proj.weight", "k_proj.weight", "v_proj.weight", "gate_proj", "up_proj")
    if (decoder and any(part in name for part in (*reads, "embed_tokens"))) or "lm_head" in name:
        value = _columns(value)
    elif decoder and "norm" in name:
        value = _columns(value) / math.sqrt(2)
    elif "audio_bos_eos_token" in name:
        value = _columns(value)
    elif (decoder and "down_proj" in name) or name.startswith(
        ("audio_tower.proj", "visual.merger.mlp.2")
    ):
        value = _rows(value)
    return value.contiguous()


def _heads(value: torch.Tensor, heads: int, *, rotary: bool) -> torch.Tensor:
    """Give each head of [heads * 16, ...] 32 rows."""
    value = value.unflatten(0, (heads, HEAD))
    wide = value.new_zeros(heads, WIDE_HEAD, *value.shape[2:])
    half = HEAD // 2
    if rotary:
        wide[:, :half], wide[:, HEAD : HEAD + half] = value[:, :half], value[:, half:]
    else:
        wide[:, :HEAD] = value
    return wide.flatten(0, 1)


def _columns(value: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(value, (0, WIDE - HIDDEN))


def _rows(value: torch.Tensor) -> torch.Tensor:
    return torch.cat([value, value.new_zeros(WIDE - HIDDEN, *value.shape[1:])])
