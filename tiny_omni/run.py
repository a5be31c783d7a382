"""A training run of tiny-omni: what is trained, one step of it, its checkpoints and its log."""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tiny_omni.batches import IGNORE, Batch
from tiny_omni.optimization import Optimizers, processes, rank, share_gradients
from tiny_omni.trainee import Trainee, mixed_precision
from tiny_omni.validation import validate


@dataclass(eq=False)
class Run:
    """A run: what is trained, and how far it has come."""

    args: argparse.Namespace
    device: torch.device
    trainee: Trainee
    averaged: nn.Module
    """The model with its weights averaged over steps: what is saved."""
    optimizer: Optimizers
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def begin(cls, args: argparse.Namespace) -> Run:
        """Begin, or go on from the newest checkpoint if there is one."""
        device = torch.device(args.device)
        trainee = Trainee(args.seed).to(device)
        run = cls(args, device, trainee, copy.deepcopy(trainee.omni).eval(), Optimizers(trainee))
        if run.checkpoint.is_file():
            parts = torch.load(run.checkpoint, map_location=device, weights_only=True)
            trainee.load_state_dict(parts["trainee"])
            run.averaged.load_state_dict(parts["averaged"])
            run.optimizer.load_state_dict(parts["optimizer"])
            run.step, run.seconds = parts["state"]["step"], parts["state"]["seconds"]
        return run

    @property
    def checkpoint(self) -> Path:
        """Where checkpoints are written."""
        path: Path = self.args.work / "checkpoint.pt"
        return path

    def keep(self) -> None:
        """Write a checkpoint in one step."""
        parts = {
            "trainee": self.trainee.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": {"step": self.step, "seconds": self.seconds},
        }
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(parts, temporary)
        temporary.replace(self.checkpoint)

    def update(self, batch: Batch, joint: bool, rate: float) -> dict[str, float]:
        """Take one step; return the losses."""
        trainee = self.trainee
        torch.manual_seed((self.args.seed * 1_000_003 + self.step) * processes() + rank())
        with mixed_precision(self.device):
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
        self.optimizer.step(rate)
        self._average(min(0.998, (self.step + 1) / (self.step + 20)))
        self.step += 1
        return {name: value.item() for name, value in losses.items()}

    @torch.no_grad()
    def _average(self, keep: float) -> None:
        averaged, model = self.averaged.parameters(), self.trainee.omni.parameters()
        torch._foreach_lerp_(list(averaged), list(model), 1 - keep)

    def report(self) -> None:
        """Log how well it answers now."""
        for seconds in (10.0, 24.0):
            scores = validate(self.trainee, "calibration", seconds, self.device)
            mean = round(sum(scores.values()) / len(scores), 4)
            rounded = {task: round(score, 3) for task, score in scores.items()}
            self.log({"validation": seconds, "mean": mean, **rounded})

    def log(self, entry: dict[str, Any]) -> None:
        """Print an entry of the log, and add it to the file."""
        line = json.dumps({"step": self.step, **entry})
        print(line, flush=True)
        with (self.args.work / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(line + "\n")
