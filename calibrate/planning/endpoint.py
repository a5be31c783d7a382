"""What a running server counts of a recording: its ``usage`` against what it should cost.

An OpenAI-compatible server is asked twice for one token: about the recording, and about its first
second. The difference of the two ``prompt_tokens`` is audio alone: template, system prompt and
question are in both. A server that cuts audio counts fewer tokens than there should be. (One that
bills what it did not hear cannot be told from outside.)
"""

from __future__ import annotations

import base64
import http.client
import io
import ipaddress
import json
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from calibrate.models.frontends.base import FrontEnd
from headrouter_core.errors import HeadRouterError, UsageError

#: Environment variable whose value is sent as the server's key, and to no other address.
KEY = "HEADROUTER_ENDPOINT_KEY"
#: The most bytes of an answer that are read.
_MOST_BYTES = 1 << 20
#: How much audio the second question has, in seconds.
_SHORT = 1.0
#: Share and number of audio tokens by which two counts may differ: both may round a last frame.
_SLACK_SHARE, _SLACK = 0.005, 2


class EndpointError(HeadRouterError):
    """A server cannot be asked, or does not count what a recording should cost."""


@dataclass(frozen=True)
class Counted:
    """What a server counts, and what there should be."""

    url: str
    prompt_tokens: int
    """Of the whole recording, by the server's ``usage``."""
    audio_tokens: int
    """What of these is audio."""
    expected: int
    """Audio tokens that the whole recording should become."""
    seconds: float
    seconds_heard: float
    """How much audio so many tokens are, at most all of it."""

    @property
    def verdict(self) -> str:
        """``whole``, ``truncated`` or ``other``: more than there should be."""
        slack = max(_SLACK, round(_SLACK_SHARE * self.expected))
        if self.audio_tokens < self.expected - slack:
            return "truncated"
        return "other" if self.audio_tokens > self.expected + slack else "whole"

    def told(self) -> str:
        """Return the verdict in a sentence."""
        counts = f"{self.audio_tokens:,} audio tokens, and {self.expected:,} is what"
        if self.verdict == "truncated":
            return (
                f"THE SERVER TRUNCATES: it hears about {self.seconds_heard:.0f} s of"
                f" {self.seconds:.0f} s. It counts {counts} the recording should cost"
            )
        if self.verdict == "other":
            return f"the server counts {counts} this model makes of it: it runs another model"
        return f"the server counts the whole recording: {counts} it should cost"

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints of it."""
        return {
            "url": self.url,
            "prompt_tokens": self.prompt_tokens,
            "audio_tokens": self.audio_tokens,
            "audio_tokens_expected": self.expected,
            "seconds": round(self.seconds, 6),
            "seconds_heard": round(self.seconds_heard, 3),
            "verdict": self.verdict,
        }


def address(url: str) -> str:
    """Return where chat completions are asked for, given that or the server's address.

    Raises:
        UsageError: no address of http or https, or one that holds a password.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"--endpoint {url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or " " in url:
        raise UsageError(f"--endpoint {url!r} is no address; give one like http://localhost:8000")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            f"--endpoint takes no user, query or fragment; a key goes into the environment: {KEY}"
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path += "/chat/completions" if path.endswith("/v1") else "/v1/chat/completions"
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def compare(
    url: str, model: str, frontend: FrontEnd, audio: np.ndarray, question: str, timeout: float
) -> Counted:
    """Ask a server about a recording.

    Args:
        url: see :func:`address`.
        model: by the name that the server has for it.
        frontend: of the model that the server should run.
        audio: float32 [n], mono, at the front end's rate.
        question: asked beside it.
        timeout: seconds that each of the two answers may take in all.

    Raises:
        UsageError: no address.
        EndpointError: the server refuses, is silent, answers something else, or sends elsewhere.
    """
    where = address(url)
    rate = frontend.sample_rate
    first = audio[: min(len(audio) // 2, round(_SHORT * rate))]
    few = _prompt_tokens(where, _body(model, first, rate, question), timeout)
    many = _prompt_tokens(where, _body(model, audio, rate, question), timeout)
    expected = frontend.audio_tokens(len(audio))
    found = many - few + frontend.audio_tokens(len(first))
    seconds = len(audio) / rate
    return Counted(
        url=where,
        prompt_tokens=many,
        audio_tokens=found,
        expected=expected,
        seconds=seconds,
        seconds_heard=min(seconds, max(0.0, found * frontend.seconds_per_token)),
    )


def _body(model: str, audio: np.ndarray, rate: int, question: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format="WAV", subtype="PCM_16")
    sound = {"data": base64.b64encode(file.getvalue()).decode(), "format": "wav"}
    content = [{"type": "input_audio", "input_audio": sound}, {"type": "text", "text": question}]
    message = {"role": "user", "content": content}
    return json.dumps({"model": model, "max_tokens": 1, "messages": [message]}).encode()


def _prompt_tokens(url: str, body: bytes, timeout: float) -> int:
    answer = _posted(url, body, timeout)
    try:
        found = json.loads(answer)["usage"]["prompt_tokens"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EndpointError(
            f"{url} answers no chat completion with usage.prompt_tokens, but {_shown(answer)}"
        ) from error
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise EndpointError(f"{url} answers usage.prompt_tokens = {found!r}, which is no count")
    return found


def _posted(url: str, body: bytes, timeout: float) -> bytes:
    """Return the answer's body.

    In a thread: a socket's own timeout is for each byte, and a server may send them one by one.
    """
    done: list[bytes | Exception] = []

    def post() -> None:
        try:
            done.append(_post(url, body, timeout))
        except Exception as error:  # handed to the thread that waits
            done.append(error)

    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    thread.join(timeout)
    found = done[0] if done else TimeoutError()
    if isinstance(found, bytes):
        return found
    raise EndpointError(_reason(url, found, timeout)) from found


def _post(url: str, body: bytes, timeout: float) -> bytes:
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(KEY, "").strip():
        headers["Authorization"] = f"Bearer {key}"
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if _is_loopback(urllib.parse.urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.build_opener(*handlers).open(asked, timeout=timeout) as answer:
            content: bytes = answer.read(_MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        if error.code in range(300, 400):
            to = error.headers.get("Location")
            raise EndpointError(
                f"{url} sends elsewhere, to {to}, and is not followed; name that address yourself"
            ) from error
        said = _shown(error.read(_MOST_BYTES))
        raise EndpointError(f"{url} refuses with status {error.code}: {said}") from error
    if len(content) > _MOST_BYTES:
        raise EndpointError(f"{url} answers more than {_MOST_BYTES >> 20} MiB to one token")
    return content


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Goes nowhere but where it was sent: a recording is for the server that was named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Let the answer be an error."""


def _reason(url: str, error: Exception, timeout: float) -> str:
    if isinstance(error, EndpointError):
        return str(error)
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"{url} gave no answer within {timeout:g} s (--timeout)"
    if isinstance(error, (OSError, http.client.HTTPException)):
        return f"{url} cannot be asked: {type(cause).__name__}: {cause}"
    raise error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(answer: bytes) -> str:
    text = " ".join(answer[:2000].decode("utf-8", "replace").split())
    return repr(text[:200] + ("…" if len(text) > 200 else ""))
