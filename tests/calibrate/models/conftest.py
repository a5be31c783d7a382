"""Every family that has a processor: its checkpoint and its model, made when first asked for."""

import pytest

from calibrate.models import named
from calibrate.models.frontends.base import front_end
from tests.calibrate import tiny_checkpoints


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Write each family's checkpoint once, when it is first asked for."""
    written = {}

    def get(name):
        for package in front_end({"model_type": name}).packages:
            pytest.importorskip(package)
        if name not in written:
            folder = tmp_path_factory.mktemp("models") / f"small-{name}"
            written[name] = tiny_checkpoints.save(name, folder)
        return written[name]

    return get


@pytest.fixture(scope="session")
def load(checkpoints):
    loaded = {}

    def get(name):
        if name not in loaded:
            with tiny_checkpoints.without_vision():
                loaded[name] = named.load(str(checkpoints(name)), device="cpu")
        return loaded[name]

    return get
