"""Options of the tests."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-exactness",
        action="store_true",
        help="write what the exactness suite measures to docs/exactness.json",
    )
