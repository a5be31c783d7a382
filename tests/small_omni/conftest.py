"""A small random model of small-omni's architecture, assembled as the real one is."""

import pytest

from small_omni.assembly import assemble
from tests.small_omni.made_up import parts


@pytest.fixture(scope="session")
def random_parts():
    return parts()


@pytest.fixture
def omni(random_parts):
    return assemble(random_parts, seed=0)
