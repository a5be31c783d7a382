"""The OpenAI server, with headrouter in it: audio by URL and in base64, streaming, refusals."""

from __future__ import annotations

import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.serving import server as serving
from headrouter_core.scoring import keep_count

from .prompts import Question, sound
from .test_equal import expected

WHICH = "Which keyword is spoken?"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("server") / "log.txt"


@pytest.fixture(scope="module")
def address(checkpoint, log):
    started = {"ratio": 0.6, "profile": "tiny-omni", "force": True}
    given = serving.arguments(checkpoint, started, "--trust-request-mm-kwargs")
    with serving.served(given, log) as address:
        yield address


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Serve a folder with one recording on loopback, and return the recording's address."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "speech.wav").write_bytes(serving.wav(sound(0, 12)))
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/speech.wav"
    server.shutdown()
    thread.join()


def asked(ratio=None, **settings):
    given = settings if ratio is None else {"ratio": ratio, **settings}
    return {"mm_processor_kwargs": {"headrouter": given}} if given else {}


def spoken(processor, ids):
    return processor.tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("settings", [{}, {"ratio": 0}, {"ratio": 0.9}, {"method": "segments"}])
def test_audio_in_the_request(address, reference, processor, settings):
    body = serving.question([serving.inline(sound(0, 12))], WHICH, **asked(**settings))
    status, answer = serving.post(address, body)
    assert status == 200
    k = keep_count(300, settings.get("ratio", 0.6))
    whole = Question(((0, 12),), WHICH, {"ratio": 0.6, **settings})
    pruned, _, ids = expected(reference, processor, whole)
    assert answer["usage"]["prompt_tokens"] == pruned["inputs_embeds"].shape[1]
    unpruned = serving.post(address, body | asked(ratio=0))[1]["usage"]["prompt_tokens"]
    assert unpruned - answer["usage"]["prompt_tokens"] == 300 - k
    said = answer["choices"][0]["message"]["content"]
    assert said
    assert said.startswith(spoken(processor, ids))


def test_audio_by_url(address, files):
    inline = serving.question([serving.inline(sound(0, 12))], WHICH)
    linked = serving.question([{"type": "audio_url", "audio_url": {"url": files}}], WHICH)
    answers = [serving.post(address, body) for body in (inline, linked)]
    assert [status for status, _ in answers] == [200, 200]
    one, two = (answer for _, answer in answers)
    assert one["choices"][0]["message"] == two["choices"][0]["message"]
    assert one["usage"]["prompt_tokens"] == two["usage"]["prompt_tokens"]


def test_several_audios(address, reference, processor):
    parts = ((2, 9), (0, 4))
    body = serving.question([serving.inline(sound(*part)) for part in parts], WHICH)
    status, answer = serving.post(address, body)
    assert status == 200
    wanted = expected(reference, processor, Question(parts, WHICH, {"ratio": 0.6}))
    assert answer["usage"]["prompt_tokens"] == wanted[0]["inputs_embeds"].shape[1]
    assert answer["choices"][0]["message"]["content"].startswith(spoken(processor, wanted[2]))


def test_streaming_says_the_same(address):
    body = serving.question([serving.inline(sound(0, 12))], WHICH)
    _, whole = serving.post(address, body)
    streamed = body | {"stream": True, "stream_options": {"include_usage": True}}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        json.dumps(streamed).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        lines = [line.decode().removeprefix("data: ").strip() for line in answer]
    parts = [json.loads(line) for line in lines if line.startswith("{")]
    text = "".join(
        part["choices"][0]["delta"].get("content") or "" for part in parts if part["choices"]
    )
    assert text == whole["choices"][0]["message"]["content"]
    assert parts[-1]["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]


def test_clients_at_once_and_clients_that_leave(address):
    """Each gets what it would get alone, whoever asks beside it or hangs up."""
    audio = [serving.inline(sound(0, 7))]
    settings = [
        {"ratio": 0},
        {"ratio": 0.6},
        {"ratio": 0.99},
        {"ratio": 0.6, "method": "segments"},
        {"ratio": 0.6, "method": "headrouter"},
    ]
    bodies = [serving.question(audio, WHICH, **asked(**given)) for given in settings]
    bodies.append(serving.question([serving.inline(sound(0, 0.1))], WHICH, **asked(ratio=0.99)))
    alone = [serving.post(address, body) for body in bodies]
    for body in bodies:
        streamed = {**body, "stream": True, "max_tokens": 200, "ignore_eos": True}
        request = urllib.request.Request(
            f"{address}/v1/chat/completions",
            json.dumps(streamed).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            answer.readline()
    with ThreadPoolExecutor(len(bodies)) as pool:
        together = list(pool.map(partial(serving.post, address), bodies))
    for (status, one), (_, two) in zip(alone, together, strict=True):
        assert status == 200
        assert one["choices"][0]["message"]["content"] == two["choices"][0]["message"]["content"]
        assert one["usage"]["prompt_tokens"] == two["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 1}, "ratio 1 is outside [0, 1)"),
        ({"ration": 0.6}, "'ration' is no setting"),
        ({"method": "fastv"}, "headrouter.method is 'fastv'; known are frame"),
        ({"profile": "/etc/passwd"}, "is a setting of the server's start"),
    ],
)
def test_what_cannot_be_done_is_answered_with_400(address, settings, message):
    body = serving.question([serving.inline(sound(0, 3))], WHICH, **asked(**settings))
    status, answer = serving.post(address, body)
    assert status == 400
    assert message in answer["error"]["message"]


def test_several_audios_are_refused_by_methods_that_read_the_question(address):
    audios = [serving.inline(sound(0, 3)), serving.inline(sound(4, 6))]
    body = serving.question(audios, WHICH, **asked(method="headrouter"))
    status, answer = serving.post(address, body)
    assert status == 400
    assert "ask for frame or segments" in answer["error"]["message"]


def test_it_says_what_it_does(address, log):
    serving.post(address, serving.question([serving.inline(sound(0, 5))], WHICH))
    told = log.read_text()
    line = "headrouter: active: qwen2_5_omni, method frame, ratio 0.6, profile tiny-omni"
    for part in ("reading prompts", "running the model"):
        assert any(line in one and part in one for one in told.splitlines()), part
    assert "audio tokens in" in told


def test_tokens_are_counted_for_prometheus(address):
    def counts():
        with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        names = (
            'headrouter_audio_tokens_total{fate="in"}',
            'headrouter_audio_tokens_total{fate="kept"}',
        )
        return [
            float(next(line for line in lines if line.startswith(name)).split()[-1])
            for name in (*names, "headrouter_audios_total")
        ]

    body = serving.question([serving.inline(sound(0, 4))], WHICH)
    serving.post(address, body)
    before = counts()
    serving.post(address, body)  # also where vLLM has read this audio before
    serving.post(address, body | asked(ratio=0.9))
    after = counts()
    assert [b - a for a, b in zip(before, after, strict=True)] == [200, 40 + 10, 2]
