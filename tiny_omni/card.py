"""Write the model card from measurements: ``python -m tiny_omni.card``.

Reads ``training.json`` beside the weights and the JSON that ``python -m tiny_omni.evaluate`` wrote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from headrouter_core.basics.writing import write
from tiny_omni import MODEL_DIR
from tiny_omni.questions import TASKS

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results" / "tiny_omni_accuracy.json"


def accuracy_table(results: dict[str, Any]) -> str:
    """Accuracy by task and scene length, with intervals at 10 s."""
    lengths = list(results["seconds"])
    head = ["task", "group", "chance", *(f"{s} s" for s in lengths), "95 % at 10 s", "speakers"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for task, spec in TASKS.items():
        rows = [results["seconds"][s][task] for s in lengths]
        ten = results["seconds"]["10"][task]
        cells = [task, spec.group, f"{spec.chance:.2f}", *(f"{r['accuracy']:.2f}" for r in rows)]
        cells += [f"{ten['interval'][0]:.2f}-{ten['interval'][1]:.2f}", str(ten["clusters"])]
        lines.append("| " + " | ".join(cells) + " |")
    war = [f"{results['seconds'][s]['digits']['war']:.2f}" for s in lengths]
    lines.append("| digits: 1 - WER | semantic | | " + " | ".join(war) + " | | |")
    return "\n".join(lines)


def card(training: dict[str, Any], results: dict[str, Any], parameters: int) -> str:
    """The whole card."""
    counts = ", ".join(
        f"{row['digits']['questions']} at {s} s" for s, row in results["seconds"].items()
    )
    settings = training["settings"]
    changes = "".join(f"\n- {change}" for change in training.get("changes", ()))
    if changes:
        changes = f" What was changed on the way:\n{changes}"
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: audio-text-to-text
---

# tiny-omni

A small audio-language model in the architecture and file format of Qwen2.5-Omni's thinker
({parameters / 1e6:.1f} M parameters, bfloat16), trained from scratch by headrouter on the openly
licensed clips in `tiny_omni/audio`. It exists so that calibration, pruning and evaluation can be
tried and tested on real audio in minutes. It is no assistant: it understands only the questions
below, about scenes like those it was trained on.

- *What it can hear*: English digits, six English keywords, ten fixed German sentences, six sound
  events, four backgrounds, ten instruments, seven acted emotions, the gender of a speaker. 6 to 30
  seconds, 16 kHz.
- *What it cannot*: anything else, free speech above all. Coffee orders are among the sounds of its
  scenes; questions about them were tried in training, and it learned nothing that held for new
  recordings.

## Accuracy

Exact greedy answers on scenes composed from the test split, whose speakers and clips training never
saw (keywords name no speakers, so there only the clips are new). {counts}
questions a task. Intervals: bootstrap over whole speakers or clips; the last column counts them.

{accuracy_table(results)}

`{results["command"]}` regenerates `benchmarks/results/tiny_omni_accuracy.json`, and
`python -m tiny_omni.card` this card.

## Training

`python -m tiny_omni.train`: {settings["pretrain"]} steps of the audio encoder alone on labels of
what sounds in each 40 ms, then {training["steps"] - settings["pretrain"]} steps of the whole model
on questions, with that loss kept beside. {settings["batch_seconds"] * training["processes"]:g}
seconds of freshly composed, augmented scenes a step; Muon and AdamW, rate {settings["rate"]:g};
averaged weights. {training["hours"]:g} hours on {training["processes"]} processes
({training["machine"]}), torch {training["versions"]["torch"]}, transformers
{training["versions"]["transformers"]}.{changes}

Data and licences: `tiny_omni/audio/README.md`; every clip's licence and attribution is in
`tiny_omni/audio/metadata.jsonl`. Checkpoints were judged on the calibration split. The test split
served the table above and the comparison of pruning methods in `benchmarks/results`.
"""


def main() -> None:
    """Read the measurements and write the card beside the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL_DIR)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    training = json.loads((args.model / "training.json").read_text("utf-8"))
    results = json.loads(args.results.read_text("utf-8"))
    with safe_open(args.model / "model.safetensors", "pt") as weights:
        parameters = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118 (not a dict)
    text = card(training, results, parameters)
    write(args.model / "README.md", text.encode(), force=True)


if __name__ == "__main__":
    main()
