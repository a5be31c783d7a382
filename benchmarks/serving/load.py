"""A closed loop of clients: each asks its next question when the one before is answered."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.serving.server import inline, question

Samples = np.ndarray[Any, Any]

TEXT = "Which keyword is spoken?"
#: Seconds between two looks at what the cache holds.
_LOOK = 0.05


@dataclass(frozen=True)
class Answered:
    """One request."""

    first: float
    """Seconds to the first token."""
    prompt_tokens: int
    error: str | None = None


def recordings(speech: Samples, count: int, seed: int, rate: int = 16000) -> list[Samples]:
    """Return ``count`` recordings of 5 to 25 s, of which no server has heard any before."""
    draw = np.random.default_rng(seed)
    seconds = np.linspace(5, 25, count)
    made = []
    for length in draw.permutation(seconds):
        samples = np.resize(np.roll(speech, draw.integers(len(speech))), int(length * rate))
        noise = draw.normal(0, 1e-3, len(samples))
        made.append((samples + noise).astype(np.float32))
    return made


def asked(audio: Samples, ratio: float) -> dict[str, Any]:
    """Return the body of one request."""
    return question(
        [inline(audio)],
        TEXT,
        stream=True,
        stream_options={"include_usage": True},
        mm_processor_kwargs={"headrouter": {"ratio": ratio}},
    )


def ask(address: str, body: dict[str, Any]) -> Answered:
    """Ask one question and read the answer as it comes; what fails is told, not raised."""
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    begun, first, tokens = time.perf_counter(), None, 0
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            for line in answer:
                told = line.decode().removeprefix("data: ").strip()
                if not told.startswith("{"):
                    continue
                part = json.loads(told)
                if "error" in part:
                    return Answered(0, 0, str(part["error"]))
                said = part["choices"] and part["choices"][0]["delta"].get("content")
                if said and first is None:
                    first = time.perf_counter() - begun
                if part.get("usage"):
                    tokens = part["usage"]["prompt_tokens"]
    except OSError as error:
        return Answered(0, 0, str(error))
    if first is None or not tokens:
        return Answered(0, 0, "an answer without a token")
    return Answered(first, tokens)


def loop(address: str, bodies: list[dict[str, Any]], clients: int) -> tuple[float, list[Answered]]:
    """Return the seconds that ``clients`` took together, and what each request was answered."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda body: ask(address, body), bodies))
    return time.perf_counter() - begun, answers


def metrics(address: str) -> dict[str, float]:
    """Return the server's figures by name, labels left out; of equal names the last."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    found = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name.partition("{")[0]: float(value) for name, _, value in found}


def total_blocks(address: str) -> int:
    """Return how many blocks the server's cache has."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    line = next(line for line in text.splitlines() if line.startswith("vllm:cache_config_info{"))
    return int(line.partition('num_gpu_blocks="')[2].partition('"')[0])


@contextmanager
def watched_blocks(address: str, total: int) -> Iterator[list[int]]:
    """Yield a list of how many blocks were in use, at times while this is open."""
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(_LOOK):
            seen.append(round(metrics(address)["vllm:kv_cache_usage_perc"] * total))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
