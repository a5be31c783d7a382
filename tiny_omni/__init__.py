"""tiny-omni: the small audio-language model that headrouter ships, its audio and its recipe.

``tiny_omni/model`` holds the weights in the format of Qwen2.5-Omni's thinker; ``python -m
tiny_omni.train`` makes them from ``tiny_omni/audio``.
"""

from pathlib import Path

#: Folder of the trained model, loadable with ``from_pretrained``.
MODEL_DIR = Path(__file__).parent / "model"
#: Folder of the openly licensed clips that scenes are composed from.
AUDIO_DIR = Path(__file__).parent / "audio"
#: A short recording to try things on.
DEMO = Path(__file__).parent / "demo.flac"
