"""Servers that do not start, and one whose clients may not say anything: real processes."""

from __future__ import annotations

import io
import json
import sys
import urllib.error
import urllib.request
import uuid

import pytest

from benchmarks.serving import server as serving

from . import asr
from .conftest import PROFILE
from .prompts import sound

WITHOUT_A_HOOK = """
import runpy
from vllm.model_executor.models.interfaces import SupportsMRoPE

del SupportsMRoPE.get_mrope_input_positions
runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
"""
DRAFTS = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 3}


def refused(folder, log, headrouter, *more, program=serving.SERVER):
    """Return the log of a server that does not start."""
    given = serving.arguments(folder, headrouter, *more)
    ends = pytest.raises(RuntimeError, match="the server ended with")
    with ends, serving.served(given, log, program=program):
        pass
    return log.read_text()


def test_what_is_not_exact_does_not_start_a_server(checkpoint, tmp_path):
    told = refused(
        checkpoint,
        tmp_path / "log",
        {"ratio": 0.6},
        *("--pipeline-parallel-size", "2", "--tensor-parallel-size", "2"),
        *("--speculative-config", json.dumps(DRAFTS)),
        *("--enable-lora", "--enable-tower-connector-lora"),
    )
    assert "StartError: headrouter: with pipeline parallelism later stages" in told
    for part in ("drafts of speculative", "LoRA on the audio tower", "tensor parallelism has not"):
        assert part in told


def test_settings_that_are_none_do_not_start_a_server(checkpoint, tmp_path):
    told = refused(checkpoint, tmp_path / "log", {"method": "fastv"})
    assert "headrouter.method is 'fastv'; known are frame, segments" in told


def test_a_vllm_without_a_hook_does_not_start_a_server(checkpoint, tmp_path):
    program = [sys.executable, "-c", WITHOUT_A_HOOK]
    told = refused(checkpoint, tmp_path / "log", {"ratio": 0.6}, program=program)
    assert "StartError: headrouter: vLLM 0.32.0 lacks what pruning needs" in told
    assert "get_mrope_input_positions" in told


def test_a_profile_of_another_model_does_not_start_a_server(checkpoint, tmp_path):
    told = refused(checkpoint, tmp_path / "log", {"ratio": 0.6, "profile": PROFILE})
    assert "ProfileMismatchError" in told


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = asr.write(tmp_path_factory.mktemp("asr"))
    given = serving.arguments(folder, {"ratio": 0.6})
    given[given.index("--limit-mm-per-prompt") + 1] = '{"audio": 1}'
    with serving.served(given, tmp_path_factory.mktemp("server") / "log") as address:
        yield address


@pytest.mark.parametrize("said", [{"ratio": 0.9}, {"ratio": 2}, None])
def test_vllm_itself_names_the_flag_that_is_missing(address, said):
    """Before the plug-in sees anything of the request."""
    body = serving.question([serving.inline(sound(0, 2))], "what is said")
    status, answer = serving.post(address, {**body, "mm_processor_kwargs": {"headrouter": said}})
    assert status == 400
    assert "--trust-request-mm-kwargs" in answer["error"]["message"]
    assert serving.post(address, body)[0] == 200


def transcribe(address, samples):
    """Post a file to the endpoint of transcriptions, as ``curl -F`` does."""
    mark = uuid.uuid4().hex
    body = io.BytesIO()
    head = 'Content-Disposition: form-data; name="{}"'
    for name, value in (("model", serving.MODEL), ("temperature", "0"), ("max_tokens", "8")):
        body.write(f"--{mark}\r\n{head.format(name)}\r\n\r\n{value}\r\n".encode())
    body.write(f'--{mark}\r\n{head.format("file")}; filename="a.wav"\r\n\r\n'.encode())
    body.write(serving.wav(samples) + f"\r\n--{mark}--\r\n".encode())
    kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    request = urllib.request.Request(f"{address}/v1/audio/transcriptions", body.getvalue(), kind)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def counted(address):
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    names = [f'headrouter_audio_tokens_total{{fate="{fate}"}}' for fate in ("in", "kept")]
    return [float(line.split()[-1]) for name in names for line in lines if line.startswith(name)]


def test_transcriptions_are_pruned_too(address):
    serving.post(address, serving.question([serving.inline(sound(0, 2))], "what is said"))
    before = counted(address)
    assert "text" in transcribe(address, sound(0, 5))
    came, kept = (b - a for a, b in zip(before, counted(address), strict=True))
    assert (came, kept) == (65, 26)
