"""Options of the tests."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-exactness",
        metavar="FILE",
        type=Path,
        help="write what the exactness suite measures to FILE, such as docs/exactness.json",
    )
    parser.addoption(
        "--record-eviction",
        metavar="FILE",
        type=Path,
        help="write the worst errors of eviction by family to FILE, such as docs/eviction.json",
    )
    parser.addoption(
        "--record-vllm",
        metavar="FILE",
        type=Path,
        help="write how vLLM differs from transformers to FILE, such as docs/vllm.json",
    )
