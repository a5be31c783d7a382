"""Load on a vLLM that prunes: ``python -m benchmarks.serving``, where ``make vllm`` ran.

One server, and rounds in which each ratio gets the same recordings, in turn, so that whatever else
the machine does falls on all of them alike. What is compared are ratios of one run; seconds are of
a small model on whatever machine this is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import soundfile
import torch

from benchmarks.measuring.machine import environment
from benchmarks.serving import load
from benchmarks.serving.checkpoint import write as write_checkpoint
from benchmarks.serving.server import arguments, served
from headrouter_core import __version__
from headrouter_core.basics.writing import write

RATIOS = (0.0, 0.6, 0.9)
RESULTS = Path(__file__).parents[1] / "results" / "vllm-cpu.json"
SPEECH = Path(__file__).parents[2] / "tiny_omni" / "demo.flac"
BLOCK = 32


def main() -> None:
    """Run the rounds, print a table, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=16, help="of each ratio in each round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), options.clients, options.requests, options.rounds)
    write(options.output, (json.dumps(measured, indent=1) + "\n").encode(), force=True)
    print(table(measured))


def measure(folder: Path, clients: int, requests: int, rounds: int) -> dict[str, Any]:
    """Return what a server did under load."""
    speech, _ = soundfile.read(SPEECH, dtype="float32")
    given = arguments(
        write_checkpoint(folder / "model"),
        {"ratio": 0.6},
        *("--trust-request-mm-kwargs", "--block-size", str(BLOCK), "--no-enable-prefix-caching"),
        *("--max-num-batched-tokens", "8192"),
    )
    versions = _versions()
    seconds = dict.fromkeys(RATIOS, 0.0)
    answers: dict[float, list[load.Answered]] = {ratio: [] for ratio in RATIOS}
    blocks: dict[float, list[int]] = {ratio: [] for ratio in RATIOS}
    with served(given, folder / "log.txt") as address:
        total = load.total_blocks(address)
        for ratio in RATIOS:  # what is compiled or read once is not measured
            load.loop(address, [load.asked(load.recordings(speech, 1, rounds)[0], ratio)], 1)
        for number in range(rounds):
            audios = load.recordings(speech, requests, number)
            # each ratio is first, second and last in turn
            for ratio in (*RATIOS[number % 3 :], *RATIOS[: number % 3]):
                bodies = [load.asked(audio, ratio) for audio in audios]
                with load.watched_blocks(address, total) as seen:
                    spent, answered = load.loop(address, bodies, clients)
                seconds[ratio] += spent
                answers[ratio] += answered
                blocks[ratio].append(max(seen, default=0))
    found = {
        str(ratio): _figures(seconds[ratio], answers[ratio], blocks[ratio]) for ratio in RATIOS
    }
    return {
        "versions": versions,
        "machine": environment(torch.device("cpu")) | {"cores": os.cpu_count()},
        "load": {
            "clients": clients,
            "requests": requests * rounds,
            "audio_seconds": [5, 25],
            "block_size": BLOCK,
            "method": "frame",
        },
        "ratios": found,
        "to_unpruned": {
            ratio: {name: _share(one, found["0.0"], name) for name in _COMPARED}
            for ratio, one in found.items()
        },
    }


_COMPARED = ("requests_per_second", "ttft_seconds", "kv_blocks", "prompt_tokens")


def _versions() -> dict[str, str]:
    names = ("vllm-cpu", "torch", "transformers", "headrouter-vllm")
    return {"headrouter": __version__, **{name: metadata.version(name) for name in names}}


def _figures(seconds: float, answers: list[load.Answered], blocks: list[int]) -> dict[str, Any]:
    good = [answer for answer in answers if answer.error is None]
    if len(good) < 2:
        raise SystemExit(f"nothing was answered: {answers[0].error}")
    firsts = [answer.first for answer in good]
    return {
        "requests_per_second": len(good) / seconds,
        "ttft_seconds": statistics.median(firsts),
        "ttft_seconds_p90": statistics.quantiles(firsts, n=10)[-1],
        "kv_blocks": statistics.median(blocks),
        "prompt_tokens": statistics.mean(answer.prompt_tokens for answer in good),
        "errors": len(answers) - len(good),
        "error": next((answer.error for answer in answers if answer.error), None),
    }


def _share(one: dict[str, Any], whole: dict[str, Any], name: str) -> float:
    return float(one[name]) / float(whole[name])


def table(measured: dict[str, Any]) -> str:
    """Return the figures as a table, each with its ratio to the unpruned one."""
    lines = [
        "| ratio | requests/s | first token, s | KV blocks | prompt tokens | errors |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for ratio, one in measured["ratios"].items():
        shares = measured["to_unpruned"][ratio]
        cells = [f"{one[name]:.3g} (x {shares[name]:.2f})" for name in _COMPARED]
        lines.append(f"| {ratio} | {' | '.join(cells)} | {one['errors']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
