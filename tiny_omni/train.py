"""Train tiny-omni: ``python -m tiny_omni.train``.

Two phases. First the audio encoder alone learns to tell what sounds in each 40 ms (no decoder,
several times faster); then the whole model answers questions, with that frame-level loss kept
beside the answer loss. The heads of the frame-level loss are thrown away. Every batch follows from
the seed and its number, and a checkpoint is written every few minutes: a killed run goes on where
it was. The learning rate is constant and falls to zero over the last part, so a finished run can be
prolonged from a checkpoint before the fall.

Several processes share the work under ``torchrun --nproc-per-node N -m tiny_omni.train``: one per
GPU, or one per core with ``OMP_NUM_THREADS=1``, which on a CPU is faster than one process with N
threads. Each takes its own batches; gradients are averaged.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, TypedDict

import torch
import torch.distributed as dist
import transformers
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from headrouter_core.basics.writing import write
from tiny_omni.batches import IGNORE, Batch, Packer, Stream
from tiny_omni.clips import Bank
from tiny_omni.optimization import Optimizers, processes, rank, share_gradients
from tiny_omni.questions import TASKS, questions
from tiny_omni.scenes import compose
from tiny_omni.trainee import Trainee


class State(TypedDict):
    """How far a run has come."""

    step: int
    seconds: float


def learning_rate(step: int, start: int, end: int, peak: float, decay: float) -> float:
    """Warm-up over 150 steps from ``start``, constant, then linear to zero over ``decay``."""
    warm = min(1.0, (step - start + 1) / 150)
    left = (end - step) / max(1.0, decay * (end - start))
    return peak * min(warm, 1.0, left)


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 autocast where the hardware computes in it: a CPU that emulates it is slower."""
    features = torch.cpu.get_capabilities()
    native = device.type != "cpu" or features.get("avx512_bf16") or features.get("amx_bf16")
    return torch.autocast(device.type, torch.bfloat16, enabled=bool(native))


@torch.inference_mode()
def validate(
    trainee: Trainee, split: str, seconds: float, device: torch.device
) -> dict[str, float]:
    """Exact-answer accuracy per task on ``split``: greedy decoding is right where each step is."""
    trainee.eval()
    bank, packer = Bank.of(split), Packer(trainee.tokenizer)
    hits: dict[str, list[bool]] = defaultdict(list)
    for number in range(10):
        needs = [need for task in TASKS.values() for need in task.needs]
        scenes = [
            compose(bank, f"validation/{number}/{need}", seconds, need=need) for need in needs
        ]
        asked = [questions(scene, f"validation/{number}") for scene in scenes]
        batch = packer(scenes, asked).to(device)
        with mixed_precision(device):
            _, right, _ = trainee.answers(trainee.encode(batch), batch)
        wanted = (batch.labels != IGNORE).nonzero().tolist()
        whole: dict[tuple[int, int], bool] = {}
        for (row, column), ok in zip(wanted, right.tolist(), strict=True):
            key = (row, int(batch.segments[row, column]))
            whole[key] = whole.get(key, True) and ok
        for (row, segment), ok in whole.items():
            hits[batch.tasks[row][segment - 1]].append(ok)
    trainee.train()
    return {task: sum(hits[task]) / len(hits[task]) for task in TASKS if hits[task]}


def train(args: argparse.Namespace) -> None:
    """Run both phases, from the newest checkpoint if there is one, and save the model."""
    device = torch.device(args.device)
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    work: Path = args.work
    work.mkdir(parents=True, exist_ok=True)
    trainee = Trainee(args.seed).to(device)
    averaged = copy.deepcopy(trainee.omni).eval()
    optimizer = Optimizers(trainee)
    state: State = {"step": 0, "seconds": 0.0}
    checkpoint = work / "checkpoint.pt"
    if checkpoint.is_file():
        state = _restore(checkpoint, trainee, averaged, optimizer, device)
    total = args.pretrain + args.steps
    while state["step"] < total:
        joint = state["step"] >= args.pretrain
        stop = total if joint else args.pretrain
        _phase(args, trainee, averaged, optimizer, state, stop, joint, device, checkpoint)
    if rank() == 0:
        trainee.omni.load_state_dict(averaged.state_dict())
        _report(work, state, trainee, device)
        save(trainee, args.output)
        record = _record(args, state)
        content = (json.dumps(record, indent=1) + "\n").encode()
        write(args.output / "training.json", content, force=True)
    if dist.is_initialized():
        dist.destroy_process_group()


def _phase(
    args: argparse.Namespace,
    trainee: Trainee,
    averaged: nn.Module,
    optimizer: Optimizers,
    state: State,
    stop: int,
    joint: bool,
    device: torch.device,
    checkpoint: Path,
) -> None:
    start = args.pretrain if joint else 0
    progress = (state["step"] - start) / max(1, stop - start)
    stream = Stream(
        Packer(trainee.tokenizer),
        seed=args.seed,
        first=state["step"] * processes() + rank(),
        stride=processes(),
        ask=joint,
        long=0.45 if joint and progress >= args.short else 0.0,
        seconds=args.batch_seconds,
    )
    # the share of long scenes is fixed per stream: leave the loop where it has to change
    lengthen = start + int(args.short * (stop - start)) if joint and progress < args.short else stop
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=args.workers,
        prefetch_factor=4,
        persistent_workers=False,
    )
    sums: dict[str, float] = defaultdict(float)
    clock = time.perf_counter()
    for batch in loader:
        step = state["step"]
        torch.manual_seed((args.seed * 1_000_003 + step) * processes() + rank())
        decay = args.decay if joint else 0.0
        rate = learning_rate(step, start, stop, args.rate, decay)
        losses = _step(trainee, optimizer, batch.to(device), joint, rate)
        _average(averaged, trainee.omni, min(0.998, (step + 1) / (step + 20)))
        for name, value in losses.items():
            sums[name] += value
        state["step"] += 1
        if rank() != 0:
            if state["step"] >= lengthen:
                break
            continue
        if state["step"] % args.print_every == 0:
            now = time.perf_counter()
            state["seconds"] += now - clock
            means = {name: round(value / args.print_every, 4) for name, value in sums.items()}
            _log(
                checkpoint.parent,
                {
                    "step": state["step"],
                    "lr": rate,
                    **means,
                    "s_per_step": round((now - clock) / args.print_every, 3),
                },
            )
            sums.clear()
            clock = now
        if state["step"] % args.save_every == 0 or state["step"] == lengthen:
            _checkpoint(checkpoint, trainee, averaged, optimizer, state)
        if joint and state["step"] % args.validate_every == 0:
            _report(checkpoint.parent, state, trainee, device)
            clock = time.perf_counter()
        if state["step"] >= lengthen:
            break


def _step(
    trainee: Trainee, optimizer: Optimizers, batch: Batch, joint: bool, rate: float
) -> dict[str, float]:
    with mixed_precision(batch.samples.device):
        embedded = trainee.encode(batch)
        losses = trainee.frame_loss(embedded, batch)
        total = losses["sound"] + 0.3 * (losses["emotion"] + losses["gender"] + losses["bed"])
        if joint:
            dropped = functional.dropout(embedded, 0.05)
            tokens, right, losses["ordinal"] = trainee.answers(dropped, batch)
            weights = batch.weights[batch.labels != IGNORE]
            losses["answer"] = (tokens * weights).sum() / weights.sum()
            losses["right"] = right.float().mean()
            total = losses["answer"] + 0.5 * (total + losses["ordinal"])
    total.backward()
    share_gradients(trainee)
    nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
    optimizer.step(rate)
    return {name: value.item() for name, value in losses.items()}


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, keep: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - keep)


def _checkpoint(
    path: Path, trainee: Trainee, averaged: nn.Module, optimizer: Optimizers, state: State
) -> None:
    parts = {
        "trainee": trainee.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
        "state": state,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(parts, temporary)
    temporary.replace(path)


def _restore(
    path: Path,
    trainee: Trainee,
    averaged: nn.Module,
    optimizer: Optimizers,
    device: torch.device,
) -> State:
    parts = torch.load(path, map_location=device, weights_only=True)
    trainee.load_state_dict(parts["trainee"])
    averaged.load_state_dict(parts["averaged"])
    optimizer.load_state_dict(parts["optimizer"])
    state: State = parts["state"]
    return state


def _report(work: Path, state: State, trainee: Trainee, device: torch.device) -> None:
    for seconds in (10.0, 24.0):
        scores = validate(trainee, "calibration", seconds, device)
        mean = round(sum(scores.values()) / len(scores), 4)
        rounded = {task: round(score, 3) for task, score in scores.items()}
        _log(work, {"step": state["step"], "validation": seconds, "mean": mean, **rounded})


def _log(work: Path, entry: dict[str, Any]) -> None:
    line = json.dumps(entry)
    print(line, flush=True)
    with (work / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(line + "\n")


def _record(args: argparse.Namespace, state: State) -> dict[str, Any]:
    """How this model was trained: settings, how long it took on what, library versions."""
    settings = {k: v for k, v in vars(args).items() if k not in ("output", "work")}
    return {
        "settings": settings,
        "processes": processes(),
        "steps": state["step"],
        "hours": round(state["seconds"] / 3600, 2),
        "machine": (
            torch.cuda.get_device_name() if args.device == "cuda" else f"{platform.machine()} CPU"
        ),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def save(trainee: Trainee, folder: Path) -> None:
    """Write the model in bfloat16 with tokenizer, template and features, as Qwen's are."""
    model = copy.deepcopy(trainee.omni).bfloat16()
    model.save_pretrained(folder)
    trainee.tokenizer.save_pretrained(folder)
    trainee.extractor.save_pretrained(folder)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for the trained model")
    parser.add_argument(
        "--work", type=Path, default=Path(".work/tiny-omni"), help="checkpoints, log"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pretrain", type=int, default=1000, help="steps of the encoder alone")
    parser.add_argument("--steps", type=int, default=5000, help="steps of the whole model")
    parser.add_argument("--short", type=float, default=0.3, help="share of them on scenes < 10 s")
    parser.add_argument("--decay", type=float, default=0.3, help="share of them with falling rate")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--batch-seconds", type=float, default=96.0)
    parser.add_argument("--workers", type=int, default=1, help="processes that compose scenes")
    parser.add_argument("--print-every", type=int, default=25)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--validate-every", type=int, default=500)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
