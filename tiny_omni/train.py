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
from typing import Any

import torch
import torch.distributed as dist
import transformers
from torch.utils.data import DataLoader

from headrouter_core.basics.writing import write
from tiny_omni.batches import Packer, Stream
from tiny_omni.optimization import processes, rank
from tiny_omni.run import Run
from tiny_omni.trainee import Trainee


def learning_rate(step: int, start: int, end: int, peak: float, decay: float) -> float:
    """Warm-up over 150 steps from ``start``, constant, then linear to zero over ``decay``."""
    warm = min(1.0, (step - start + 1) / 150)
    left = (end - step) / max(1.0, decay * (end - start))
    return peak * min(warm, 1.0, left)


def train(args: argparse.Namespace) -> None:
    """Run both phases, from the newest checkpoint if there is one, and save the model."""
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if torch.device(args.device).type == "cuda" else "gloo")
    args.work.mkdir(parents=True, exist_ok=True)
    run = Run.begin(args)
    total = args.pretrain + args.steps
    while run.step < total:
        joint = run.step >= args.pretrain
        _phase(run, total if joint else args.pretrain, joint)
    if rank() == 0:
        run.trainee.omni.load_state_dict(run.averaged.state_dict())
        run.report()
        save(run.trainee, args.output)
        content = (json.dumps(_record(args, run), indent=1) + "\n").encode()
        write(args.output / "training.json", content, force=True)
    if dist.is_initialized():
        dist.destroy_process_group()


def _phase(run: Run, stop: int, joint: bool) -> None:
    """Train until step ``stop``, or until scenes become longer; ``joint``: the whole model."""
    args = run.args
    start = args.pretrain if joint else 0
    progress = (run.step - start) / max(1, stop - start)
    stream = Stream(
        Packer(run.trainee.tokenizer),
        seed=args.seed,
        first=run.step * processes() + rank(),
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
        rate = learning_rate(run.step, start, stop, args.rate, args.decay if joint else 0.0)
        for name, value in run.update(batch.to(run.device), joint, rate).items():
            sums[name] += value
        if rank() == 0:
            if run.step % args.print_every == 0:
                now = time.perf_counter()
                run.seconds += now - clock
                means = {name: round(value / args.print_every, 4) for name, value in sums.items()}
                pace = round((now - clock) / args.print_every, 3)
                run.log({"lr": rate, **means, "s_per_step": pace})
                sums.clear()
                clock = now
            if run.step % args.save_every == 0 or run.step == lengthen:
                run.keep()
            if joint and run.step % args.validate_every == 0:
                run.report()
                clock = time.perf_counter()
        if run.step >= lengthen:
            break


def _record(args: argparse.Namespace, run: Run) -> dict[str, Any]:
    """How this model was trained: settings, how long it took on what, library versions."""
    settings = {k: v for k, v in vars(args).items() if k not in ("output", "work")}
    return {
        "settings": settings,
        "processes": processes(),
        "steps": run.step,
        "hours": round(run.seconds / 3600, 2),
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
