"""A sound profile to damage, and how damage has to be refused."""

import json

import pytest

from headrouter_core.errors import ProfileError
from headrouter_core.profile import bundle
from headrouter_core.profile.profile import Profile

from ..checking.bundles import join, make_profile, split

GOOD = bundle.to_bytes(make_profile().tensors, make_profile().metadata())
HEADER, DATA = split(GOOD)
METADATA = json.loads(HEADER["__metadata__"]["headrouter"])
# a changed file would be refused for its checksum, whatever else is wrong with it
METADATA.pop("checksum")


def refuse(path, content, match):
    path = path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ProfileError, match=match) as caught:
        Profile.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def with_metadata(metadata):
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    return join(HEADER | {"__metadata__": {"headrouter": text}}, DATA)
