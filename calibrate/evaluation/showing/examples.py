"""A few items kept whole, to be listened to: their sound, their question, and who kept what.

Methods that shorten the recording keep no tokens of this one, and are left out.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import soundfile

from calibrate.evaluation.asking.methods import Method
from calibrate.evaluation.asking.run import Plan
from calibrate.evaluation.asking.trial import Trial
from calibrate.evaluation.folder import Folder, write
from calibrate.evaluation.scoring.items import Item
from calibrate.evaluation.scoring.systems import VANILLA
from calibrate.models.named import Loaded
from calibrate.terminal.progress import Progress

SCHEMA = 1


def collect(
    loaded: Loaded, items: Sequence[Item], plan: Plan, folder: Folder, progress: Progress
) -> dict[str, Any]:
    """Write the sound of each of ``items``, all of which can be asked, and find who kept what.

    Returns:
        JSON-ready. ``kept`` has a mask a system, see :func:`unpacked`; the answers are in the
        records of the same ids.
    """
    rows = []
    with progress.stage("Examples", len(items)) as tick:
        for number, item in enumerate(items):
            rows.append(_example(loaded, item, plan, folder, number))
            tick()
    return {
        "schema": SCHEMA,
        "seconds_per_token": loaded.frontend.seconds_per_token,
        "systems": [list(VANILLA), *([m.name, ratio] for ratio, m in _pruning(plan))],
        "items": rows,
    }


def _example(loaded: Loaded, item: Item, plan: Plan, folder: Folder, number: int) -> dict[str, Any]:
    trial = Trial(loaded, item, plan.layer, plan.methods)
    selections = [trial.everything()] + [
        trial.select(method, ratio, plan.profile, plan.seed) for ratio, method in _pruning(plan)
    ]
    audios, rate = [], loaded.frontend.sample_rate
    for part, samples in enumerate(trial.audios):
        name = f"{number}-{part}.flac"
        write(folder.sounds / name, _flac(samples, rate))
        tokens = loaded.frontend.audio_tokens(len(samples))
        audios.append({"file": name, "seconds": len(samples) / rate, "audio_tokens": tokens})
    return {
        "id": item.id,
        "prompt": item.prompt,
        "system": item.system,
        "audio_tokens": trial.audio_tokens,
        "audios": audios,
        "kept": [_packed(s.kept.cpu().numpy(), trial.audio_tokens) for s in selections],
    }


def _pruning(plan: Plan) -> list[tuple[float, Method]]:
    """Every ratio with every method that keeps tokens of the whole recording."""
    methods = [method for method in plan.methods if method.shortening is None]
    return [(ratio, method) for ratio in plan.ratios for method in methods]


def _packed(kept: np.ndarray, audio_tokens: int) -> str:
    """One bit an audio token, the first one highest, in hexadecimal."""
    mask = np.zeros(audio_tokens, bool)
    mask[kept] = True
    return np.packbits(mask).tobytes().hex()


def unpacked(text: str, audio_tokens: int) -> np.ndarray:
    """Return bool [N_a]: which audio tokens were kept."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
    return bits[:audio_tokens].astype(bool)


def _flac(samples: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()
