"""The server of docs/serving.md, as it stands there, with the shipped model, on loopback."""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch

from calibrate.models.named import load
from headrouter_core import HeadRouter, load_profile, prune

PAGE = Path(__file__).parent.parent / "docs" / "serving.md"
PLACE = ("127.0.0.1", 0)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Return what the page expects of its reader, and what its code defines."""
    loaded = load("tiny-omni", device="cpu")
    rate = loaded.frontend.sample_rate

    def prepare(request: dict[str, Any]) -> Any:
        noise = np.random.default_rng(request["seed"]).normal(0, 0.1, 2 * rate)
        audios = [noise.astype(np.float32)]
        return loaded.place(loaded.frontend.inputs(audios, request["question"], None))

    names = {
        "model": loaded.model,
        "tokenizer": loaded.frontend.tokenizer,
        "selector": HeadRouter(load_profile("tiny-omni")),
        "prepare": prepare,
    }
    (code,) = re.findall(r"<!-- run by tests.*?-->\n```python\n(.*?)```", PAGE.read_text(), re.S)
    exec(compile(code, PAGE.name, "exec"), names)
    return names


@pytest.fixture
def address(names: dict[str, Any]) -> Iterator[str]:
    server = names["make_server"](PLACE)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def post(address: str, **request: Any) -> str:
    data = json.dumps(request).encode()
    with urlopen(Request(address, data=data), timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def directly(names: dict[str, Any], request: dict[str, Any]) -> str:
    model, inputs = names["model"], names["prepare"](request)
    options = {"max_new_tokens": 64, "do_sample": False}
    if "ratio" not in request:
        ids = model.generate(**inputs, **options)
    else:
        with prune(model, names["selector"], request["ratio"]):
            ids = model.generate(**inputs, **options)
    new = ids[0, inputs["input_ids"].shape[1] :]
    text: str = names["tokenizer"].decode(new, skip_special_tokens=True)
    return text


def test_requests_at_once_each_with_its_own_ratio(names: dict[str, Any], address: str) -> None:
    asked: list[dict[str, Any]] = [
        {},
        {"ratio": 0.6},
        {"ratio": 0.9, "stream": True},
        {"stream": True},
        {"ratio": 0.95},
        {"ratio": 0.3, "stream": True},
    ]
    requests = [
        {"seed": seed, "question": "What is heard?", **each} for seed, each in enumerate(asked)
    ]
    wanted = [directly(names, request) for request in requests]
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(len(requests)) as pool:
        warnings.simplefilter("always", UserWarning)
        found = list(pool.map(lambda request: post(address, **request), requests))
    assert found == wanted
    assert not [str(each.message) for each in caught if "ran the model" in str(each.message)]
    assert not names["model"]._forward_pre_hooks


@pytest.mark.parametrize(
    ("request_", "match"),
    [
        ({"seed": 0, "question": "?", "ratio": 2}, "ratio"),
        ({"question": "?"}, "seed"),
    ],
)
def test_what_is_wrong_is_said(address: str, request_: dict[str, Any], match: str) -> None:
    with pytest.raises(HTTPError) as refused:
        post(address, **request_)
    assert refused.value.code == 400
    assert match in refused.value.read().decode()


def test_the_line_for_streaming_is_on_the_page() -> None:
    line = 'Thread(target=trace.bound(model.generate), kwargs={**inputs, "streamer": streamer})'
    assert line in PAGE.read_text()
    assert torch.is_grad_enabled()
