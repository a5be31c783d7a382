"""Compare what could be trained, at equal small budgets: ``python -m small_omni.compare``.

Every arm starts from the same parts, takes the same alignment and then the same batches. Which
layout joins the parts (the thinker's one linear layer, or Audio Flamingo 3's two layers), and which
of encoder and language model get LoRA, is all that differs. An arm that is in the output is not run
again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from small_omni.adapter import PROJECTION, Places, trained
from small_omni.assembly import Parts, assemble, towers
from small_omni.parts.packages import WORK, add_wheels
from small_omni.parts.reading import read_parts
from small_omni.recipe.alignment import Frames, Words, align, listen
from small_omni.recipe.stream import Shape, Stream
from small_omni.recipe.trainee import Trainee
from small_omni.recipe.updating import update
from small_omni.recipe.validation import validate
from small_omni.train import learning_rate
from tiny_omni.batches import Packer


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    projection: str
    """``linear`` (the thinker's) or ``two layers`` (Audio Flamingo 3's)."""
    places: Places
    aligned: bool = False
    """Whether audio goes on being drawn to words beside the answers' loss."""


ARMS = {
    "adapter": Arm("linear", Places(0, 0)),
    "adapter, encoder": Arm("linear", Places(0, 16, 6)),
    "adapter, decoder": Arm("linear", Places(8, 0)),
    "adapter, encoder, decoder": Arm("linear", Places(8, 16, 6)),
    "adapter of two layers, decoder": Arm("two layers", Places(8, 0)),
    "adapter, decoder of rank 16": Arm("linear", Places(16, 0)),
    "adapter, encoder, decoder, aligned": Arm("linear", Places(8, 16, 6), True),
    "adapter, upper encoder, decoder": Arm("linear", Places(8, 16, 3)),
}


def run(arm: Arm, parts: Parts, frames: Frames, args: argparse.Namespace) -> dict[str, Any]:
    """Train one arm and say how far it came, and what that took."""
    omni = assemble(parts, args.seed)
    tower, _ = towers(omni.model)
    if arm.projection == "two layers":
        wide = tower.proj.out_features
        whole: nn.Module = tower
        whole.proj = nn.Sequential(tower.proj, nn.GELU(), nn.Linear(wide, wide))
    trainee = Trainee(omni, arm.places).to(args.device)
    right = align(trainee, frames, args.align, args.seed)
    parameters = trained(trainee.omni)
    optimizer = torch.optim.AdamW(parameters.values(), betas=(0.9, 0.98), weight_decay=0.01)
    stream = Stream(
        Packer(trainee.tokenizer),
        seed=args.seed,
        first=0,
        short=args.steps,
        shape=Shape(args.seconds),
        speech=WORK / "speech",  # not opened: all scenes are short
    )
    words = Words(trainee) if arm.aligned else None
    trainee.train()
    losses, clock = [], time.process_time()
    loader = DataLoader(stream, batch_size=None, num_workers=args.workers)
    for step, batch in zip(range(args.steps), loader, strict=False):
        torch.manual_seed(args.seed * 1_000_003 + step)
        rate = learning_rate(step, args.steps, args.rate, 0.3)
        seen = update(trainee, parameters, optimizer, batch, [], rate, words)
        losses.append(seen["loss"])
    seconds = time.process_time() - clock
    tenth = max(1, args.steps // 10)
    scores = validate(trainee, 6.0, args.scenes)
    return {
        "projection": arm.projection,
        "places": asdict(arm.places),
        "aligned beside": arm.aligned,
        "parameters": sum(p.numel() for p in parameters.values()),
        "of them projection": sum(
            p.numel() for name, p in parameters.items() if name.split(".")[1] in PROJECTION
        ),
        "aligned": right,
        "loss by tenth": [
            round(sum(losses[i : i + tenth]) / tenth, 3)
            for i in range(0, tenth * (len(losses) // tenth), tenth)
        ],
        "validation at 6 s": scores,
        "cpu seconds a step": round(seconds / args.steps, 2),
    }


def main() -> None:
    """Parse the command line, run the arms that are missing, write after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    add_wheels(parser)
    parser.add_argument("--arms", default="", help="names with ; between, default all")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--align", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=11.0, help="of audio a step")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--scenes", type=int, default=24, help="to validate on")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that compose scenes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    done = json.loads(args.output.read_text("utf-8")) if args.output.is_file() else {"arms": {}}
    aside = ("output", "wheels", "arms", "workers")
    shown = {name: value for name, value in vars(args).items() if name not in aside}
    if done.setdefault("settings", shown) != shown:
        raise SystemExit(f"{args.output} was made with {done['settings']}; name another --output")
    parts = read_parts(args.wheels)
    whole = Trainee(assemble(parts, args.seed), Places(0, 0)).eval().to(args.device)
    frames = listen(whole, args.align, args.seed)
    for name in args.arms.split(";") if args.arms else ARMS:
        if name not in done["arms"]:
            done["arms"][name] = run(ARMS[name], parts, frames, args)
            args.output.write_text(json.dumps(done, indent=1) + "\n", "utf-8")
            print(name, json.dumps(done["arms"][name]), flush=True)


if __name__ == "__main__":
    main()
