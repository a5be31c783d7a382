"""A real server of vLLM's on loopback, and what one asks it."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

MODEL = "wide"
SERVER = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def arguments(checkpoint: Path, headrouter: dict[str, Any] | None, *more: str) -> list[str]:
    """Return what the server is started with, but for where it listens."""
    overrides = (
        [] if headrouter is None else ["--hf-overrides", json.dumps({"headrouter": headrouter})]
    )
    return [
        *("--model", str(checkpoint), "--served-model-name", MODEL, "--dtype", "float32"),
        *("--max-model-len", "2048", "--max-num-seqs", "8", "--enforce-eager"),
        *("--limit-mm-per-prompt", '{"image": 0, "video": 0, "audio": 3}'),
        *overrides,
        *more,
    ]


@contextmanager
def served(
    given: list[str], log: Path, patience: float = 420, program: list[str] = SERVER
) -> Iterator[str]:
    """Start a server and yield its address; it is stopped in the end.

    Raises:
        RuntimeError: it ended before it answered; the message has the end of its log.
    """
    port = free_port()
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    command = [*program, "--host", "127.0.0.1", "--port", str(port), *given]
    with log.open("w") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process, log, patience)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path, patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{log.read_text()}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise RuntimeError(f"no answer after {patience:.0f} s:\n{log.read_text()[-3000:]}")


def post(address: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Return the status and the JSON that a chat completion is answered with."""
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def wav(samples: np.ndarray[Any, Any], rate: int = 16000) -> bytes:
    """Return a recording as a WAV file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def inline(samples: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return a recording as a part of a message, in base64."""
    data = base64.b64encode(wav(samples)).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def question(audios: list[dict[str, Any]], text: str, **more: Any) -> dict[str, Any]:
    """Return the body of a chat completion."""
    content = [*audios, {"type": "text", "text": text}]
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": 8,
        **more,
    }
