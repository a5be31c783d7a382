"""Measure tiny-omni's accuracy: ``python -m tiny_omni.evaluate --output FILE.json``.

Greedy decoding on scenes composed from the clips of one split (by default test: speakers and clips
that training never saw), per task and scene length. Intervals are 95 % percentile bootstraps over
whole speakers or clips: with two emotional test speakers, say, they are wide, and should be.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch
import transformers

from calibrate.estimation.choosing.intervals import mean_interval
from calibrate.models.named import Loaded, load
from headrouter_core.basics.writing import write
from tiny_omni import MODEL_DIR
from tiny_omni.clips import SPLITS, Bank
from tiny_omni.questions import TASKS, pose

#: Scene length in seconds -> questions per task.
COUNTS = {6.0: 60, 10.0: 150, 20.0: 40, 30.0: 60}


@torch.inference_mode()
def answer(
    loaded: Loaded, audios: Sequence[np.ndarray], prompts: Sequence[str], longest: int = 40
) -> list[str]:
    """Greedy answers of at most ``longest`` tokens to one prompt per audio, as one batch."""
    rows = [
        loaded.frontend.inputs([audio], prompt)
        for audio, prompt in zip(audios, prompts, strict=True)
    ]
    batch = {k: v.to(loaded.device) for k, v in loaded.frontend.batch(rows).items()}
    generated = loaded.model.generate(**batch, max_new_tokens=longest, do_sample=False)
    new = generated[:, batch["input_ids"].shape[1] :]
    return [loaded.frontend.decode(ids) for ids in new]


def measure(
    loaded: Loaded, bank: Bank, split: str, task: str, seconds: float, count: int
) -> dict[str, Any]:
    """Exact-answer accuracy of one task at one length; for digits also 1 - corpus WER."""
    given = [pose(bank, task, i, f"{split}/{task}/{i}", seconds) for i in range(count)]
    answers: list[str] = []
    size = max(1, int(240 // seconds))
    for start in range(0, len(given), size):
        part = given[start : start + size]
        audios = [scene.samples for scene, _, _ in part]
        answers += answer(loaded, audios, [question.prompt for _, question, _ in part])
    wanted = [question.answer for _, question, _ in given]
    clusters = [cluster for _, _, cluster in given]
    right = np.array([a == w for a, w in zip(answers, wanted, strict=True)], float)
    backgrounds = [scene.behind(cluster) for scene, _, cluster in given]
    found = mean_interval(right, clusters, backgrounds)
    row: dict[str, Any] = {
        "questions": count,
        "clusters": len(set(clusters)),
        "accuracy": round(float(right.mean()), 4),
        "interval": [round(found.low, 4), round(found.high, 4)],
        "chance": round(TASKS[task].chance, 4),
    }
    if task == "digits":
        row["war"] = round(1 - jiwer.wer(wanted, [a or "-" for a in answers]), 4)
    return row


def options(doc: str, model: str | None) -> argparse.ArgumentParser:
    """The command line of what measures a model.

    Args:
        doc: of the module, which begins with what the command does.
        model: the default; ``None``: one has to be named.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "--model", default=model, required=model is None, help="folder of the model"
    )
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the questions")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    return parser


def main() -> None:
    """Parse the command line, measure, print and write."""
    args = options(__doc__, str(MODEL_DIR)).parse_args()
    loaded = load(args.model, device=args.device)
    bank = Bank.of(args.split)
    table: dict[str, dict[str, Any]] = {}
    for seconds, count in COUNTS.items():
        for task in TASKS:
            row = measure(loaded, bank, args.split, task, seconds, max(1, int(count * args.scale)))
            table.setdefault(f"{seconds:g}", {})[task] = row
            extra = f"  WAR {row['war']:.3f}" if "war" in row else ""
            low, high = row["interval"]
            print(
                f"{seconds:4g} s  {task:<11} {row['accuracy']:.3f} [{low:.3f}, {high:.3f}]{extra}",
                flush=True,
            )
    result = {
        "command": f"python -m tiny_omni.evaluate --split {args.split}",
        "split": args.split,
        "decoding": "greedy, float32",
        "device": f"{args.device}, {platform.machine()}",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "seconds": table,
    }
    write(args.output, (json.dumps(result, indent=1) + "\n").encode(), force=True)


if __name__ == "__main__":
    main()
