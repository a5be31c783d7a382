"""Public names are imported at their first use."""

import subprocess
import sys

import pytest

import headrouter_core

LIGHT = """
import sys
import headrouter_core
from headrouter_core import errors, families, UsageError
assert len(families.FAMILIES) > 10 and errors.UsageError is UsageError
print(sorted({"torch", "transformers", "safetensors"} & set(sys.modules)))
"""


def test_errors_and_families_need_no_torch():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", headrouter_core.__all__)
def test_every_public_name_is_there(name):
    value = getattr(headrouter_core, name)
    assert getattr(headrouter_core, name) is value
    assert name in dir(headrouter_core)
    if isinstance(value, type):
        assert value.__name__ == name


def test_a_star_import_brings_them_all():
    space: dict[str, object] = {}
    exec("from headrouter_core import *", space)
    assert set(headrouter_core.__all__) <= set(space)


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = headrouter_core.nothing
    with pytest.raises(ImportError, match="nothing"):
        exec("from headrouter_core import nothing")
