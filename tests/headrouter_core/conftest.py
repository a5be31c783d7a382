from collections.abc import Iterator

import pytest
import torch
import transformers
from hypothesis import HealthCheck, settings

from headrouter_core import families

from .checking.ledger import Ledger

# On a busy machine a correct test may be slow; and a red build has to be red again when repeated.
settings.register_profile(
    "headrouter", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("headrouter")


@pytest.fixture(scope="session")
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """Collect outcomes of the exactness suite, and record them if that is asked for."""
    ledger = Ledger()
    yield ledger
    if (path := request.config.getoption("record_exactness")) is not None:
        if request.session.testsfailed:
            pytest.fail("tests failed, so nothing is recorded")
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        ledger.save(path, {f.name: f.lacking() for f in families.FAMILIES}, versions)
