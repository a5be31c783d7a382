"""Servers that hear all, cut, refuse, hang, send elsewhere, or answer rubbish."""

import base64
import contextlib
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile

from calibrate.planning.endpoint import EndpointError, address, compare
from headrouter_core.errors import UsageError

RATE, TEMPLATE = 16_000, 57


class FrontEnd:
    sample_rate = RATE
    seconds_per_token = 0.04

    def audio_tokens(self, samples):
        return samples // 640


class Server(BaseHTTPRequestHandler):
    """Counts the tokens of the audio that it is sent, up to ``longest`` seconds."""

    longest = 10**6
    answer = None
    asked: list

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append((self.path, dict(self.headers), body))
        with contextlib.suppress(OSError):
            status, headers, content = (type(self).answer or type(self).counted)(self, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def counted(self, body):
        sound, _ = body["messages"][0]["content"]
        samples, rate = soundfile.read(
            io.BytesIO(base64.b64decode(sound["input_audio"]["data"])), dtype="float32"
        )
        tokens = min(len(samples), self.longest * rate) // 640
        usage = {"usage": {"prompt_tokens": TEMPLATE + tokens}}
        return 200, {"Content-Type": "application/json"}, json.dumps(usage).encode()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    kind = type("Fresh", (Server,), {"asked": []})
    running = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    kind.url = f"http://127.0.0.1:{running.server_port}"
    yield kind
    running.shutdown()
    running.server_close()


def asked(server, seconds=90, timeout=20.0):
    audio = np.zeros(seconds * RATE, np.float32)
    return compare(server.url, "some/model", FrontEnd(), audio, "What is said?", timeout)


def test_a_server_that_hears_all(server):
    found = asked(server)
    assert (found.verdict, found.audio_tokens, found.expected) == ("whole", 2250, 2250)
    assert found.prompt_tokens == 2250 + TEMPLATE
    path, headers, body = server.asked[-1]
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert body["model"] == "some/model"
    assert body["max_tokens"] == 1


def test_a_server_that_cuts_without_a_word(server):
    server.longest = 30
    found = asked(server)
    assert (found.verdict, found.audio_tokens) == ("truncated", 750)
    assert "TRUNCATES: it hears about 30 s of 90 s" in found.told()


def test_a_server_of_another_model(server):
    kind = server.counted
    server.answer = lambda self, body: (200, {}, kind(self, body)[2].replace(b"23", b"93"))
    assert asked(server).verdict == "other"


def test_a_key_is_sent_where_it_was_meant_to(server, monkeypatch):
    monkeypatch.setenv("HEADROUTER_ENDPOINT_KEY", "sesame\n")
    asked(server)
    assert server.asked[-1][1]["Authorization"] == "Bearer sesame"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>hello</html>", "no chat completion"),
        (b"", "no chat completion"),
        (b"[" * 100_000, "no chat completion"),
        (b"\xff\xfe", "no chat completion"),
        (b'{"choices": []}', "no chat completion"),
        (b'{"usage": null}', "no chat completion"),
        (b'{"usage": {"prompt_tokens": "12"}}', "no count"),
        (b'{"usage": {"prompt_tokens": true}}', "no count"),
        (b'{"usage": {"prompt_tokens": -3}}', "no count"),
        (b'{"usage": {"prompt_tokens": NaN}}', "no count"),
        (b" " * (1 << 21), "more than 1 MiB"),
    ],
)
def test_a_server_that_answers_rubbish(server, content, said):
    server.answer = lambda self, body: (200, {}, content)
    with pytest.raises(EndpointError, match=said):
        asked(server)


def test_a_server_that_refuses(server):
    server.answer = lambda self, body: (413, {}, b'{"error": "audio too long"}')
    with pytest.raises(EndpointError, match=r"refuses with status 413.*audio too long"):
        asked(server)


def test_nobody_is_followed_elsewhere(server):
    elsewhere = server.url.replace("127.0.0.1", "localhost") + "/v1/chat/completions"
    server.answer = lambda self, body: (307, {"Location": elsewhere}, b"")
    with pytest.raises(EndpointError, match=f"sends elsewhere, to {elsewhere}"):
        asked(server)
    assert len(server.asked) == 1


def test_a_server_that_hangs(server):
    server.answer = lambda self, body: time.sleep(3) or (200, {}, b"")
    with pytest.raises(EndpointError, match=r"no answer within 0\.5 s"):
        asked(server, timeout=0.5)


def test_a_server_that_drips(server):
    def drip(self, body):
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):  # nobody listens any more
            for _ in range(40):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)
        self.close_connection = True
        raise BrokenPipeError

    server.answer = drip
    with pytest.raises(EndpointError, match=r"no answer within 1 s"):
        asked(server, timeout=1.0)


def test_nobody_is_there(server):
    server.url = "http://127.0.0.1:1"
    with pytest.raises(EndpointError, match="cannot be asked: ConnectionRefused"):
        asked(server)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("http://here:8000", "http://here:8000/v1/chat/completions"),
        ("http://here:8000/v1/", "http://here:8000/v1/chat/completions"),
        ("https://here/proxy/v1/chat/completions", "https://here/proxy/v1/chat/completions"),
    ],
)
def test_addresses(given, asked):
    assert address(given) == asked


@pytest.mark.parametrize(
    "given",
    [
        "here:8000",
        "",
        "file:///etc/passwd",
        "http://",
        "http://me:secret@here",
        "http://here?x=1",
        "http://here:port",
        "http://[::1",
        "http://a b",
        "http://hé",
        "http://here/\r\nX: y",
    ],
)
def test_no_addresses(given):
    with pytest.raises(UsageError, match="--endpoint"):
        address(given)
