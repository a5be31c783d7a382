"""Files and fields that no profile may hold: each is a ProfileError, and nothing else."""

import os
import re
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrouter_core.errors import ProfileError
from headrouter_core.profile import bundle
from headrouter_core.profile.profile import Profile

from ..checking.bundles import join, make_profile
from .hostile import DATA, GOOD, HEADER, METADATA, refuse, with_metadata


def test_the_untouched_file_is_sound(tmp_path):
    (tmp_path / "good.safetensors").write_bytes(join(HEADER, DATA))
    assert Profile.load(tmp_path / "good.safetensors").digest == make_profile().digest


# the file


@pytest.mark.parametrize("end", [0, 1, 7, 8, 9, 100, len(GOOD) // 2, len(GOOD) - 1])
def test_truncated(tmp_path, end):
    refuse(tmp_path, GOOD[:end], "not a readable safetensors file")


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF" + bytes(1000),
        b"PK\x03\x04" + bytes(100),
        b"\x80\x04\x95" + bytes(100),
        GOOD + b"\0",
        struct.pack("<Q", 2**63) + GOOD[8:],
        struct.pack("<Q", 2**64 - 1) + GOOD[8:],
        struct.pack("<Q", 99_000_000) + GOOD[8:],
        struct.pack("<Q", 0),
        join(b"[]", b""),
        join(b"\xff\xfe{}", b""),
        join(b"[" * 100_000, b""),
        join(HEADER | {"__metadata__": {"headrouter": 3}}, DATA),
        join(HEADER | {"__metadata__": ["headrouter"]}, DATA),
        join(HEADER | {"centers": ["F64", [3]]}, DATA),
        join(HEADER | {"centers": HEADER["centers"] | {"shape": None}}, DATA),
        join(HEADER | {"centers": HEADER["centers"] | {"data_offsets": [0, 2**62]}}, DATA),
    ],
)
def test_garbage(tmp_path, content):
    refuse(tmp_path, content, "not a readable safetensors file")


def test_a_dimension_that_torch_cannot_hold(tmp_path):
    tensor = {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}
    refuse(
        tmp_path, join({"a": tensor, "__metadata__": HEADER["__metadata__"]}, b""), "safetensors"
    )


def test_a_file_too_large_is_not_opened(tmp_path):
    with (tmp_path / "large.safetensors").open("wb") as file:
        file.truncate(bundle.MAX_BYTES + 1)
    with pytest.raises(ProfileError, match=f"at most {bundle.MAX_BYTES}"):
        Profile.load(tmp_path / "large.safetensors")


def test_missing_folder_and_device(tmp_path):
    with pytest.raises(ProfileError, match="no such file"):
        Profile.load(tmp_path / "missing.safetensors")
    with pytest.raises(ProfileError, match="not a file"):
        Profile.load(tmp_path)
    with pytest.raises(ProfileError, match="not a file"):
        Profile.load(os.devnull)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse_to_open(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "p.safetensors").write_bytes(GOOD)
    monkeypatch.setattr(Path, "open", refuse_to_open)
    with pytest.raises(ProfileError, match="cannot be read: Permission denied"):
        Profile.load(tmp_path / "p.safetensors")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_does_more_than_a_profile_error(tmp_path, data):
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    try:
        profile = Profile.load(path)
    except ProfileError:
        return
    assert profile.weights.sum(1).allclose(torch.ones(3), atol=1e-3)


# the metadata


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_some_other_safetensors_file(tmp_path, metadata):
    header = {name: entry for name, entry in HEADER.items() if name != "__metadata__"}
    header |= {} if metadata is None else {"__metadata__": metadata}
    refuse(tmp_path, join(header, DATA), "no headrouter profile")


@pytest.mark.parametrize(
    "text", ["", "{", "nonsense", "[" * 100_000, '{"schema":' + "1" * 5000 + "}"]
)
def test_metadata_that_is_not_json(tmp_path, text):
    refuse(tmp_path, with_metadata(text), "is not JSON")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"schema"'])
def test_metadata_that_is_no_object(tmp_path, text):
    refuse(tmp_path, with_metadata(text), "not a JSON object")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_metadata_with_numbers_that_json_lacks(tmp_path, number):
    refuse(
        tmp_path, with_metadata(f'{{"schema":1,"results":{number}}}'), "cannot be written as JSON"
    )


@pytest.mark.parametrize("schema", [2, 10**30])
def test_a_newer_schema_asks_for_an_upgrade_before_anything_else(tmp_path, schema):
    refuse(tmp_path, with_metadata({"schema": schema, "new": []}), "upgrade headrouter")


@pytest.mark.parametrize("schema", [None, 0, -1, "1", 1.0, True, [1]])
def test_a_schema_that_is_none(tmp_path, schema):
    refuse(tmp_path, with_metadata(METADATA | {"schema": schema}), "schema is")


@pytest.mark.parametrize("section", sorted(METADATA))
def test_a_missing_section(tmp_path, section):
    rest = {name: value for name, value in METADATA.items() if name != section}
    refuse(tmp_path, with_metadata(rest), section)


@pytest.mark.parametrize("section", sorted(set(METADATA) - {"schema"}))
@pytest.mark.parametrize("value", [None, 3, []])
def test_a_section_of_another_type(tmp_path, section, value):
    refuse(tmp_path, with_metadata(METADATA | {section: value}), section)


def test_an_unknown_section(tmp_path):
    refuse(tmp_path, with_metadata(METADATA | {"extra": 1}), "extra")


@pytest.mark.parametrize(
    ("section", "key", "value", "named"),
    [
        ("model", "id", "", "model.id"),
        ("model", "id", None, "model.id"),
        ("model", "id", "/home/someone/model", "model.id"),
        ("model", "id", "C:\\models\\one", "model.id"),
        ("model", "revision", 3, "model.revision"),
        ("model", "family", 3, "model.family"),
        ("model", "layers", 0, "model.layers"),
        ("model", "layers", 2, "recipe.layer"),
        ("model", "heads", "4", "model.heads"),
        ("model", "heads", 5, "model.kv_heads"),
        ("model", "heads", 6, "weights.semantic"),
        ("model", "heads", 2048, "model.heads"),
        ("model", "kv_heads", 3, "model.kv_heads"),
        ("model", "head_dim", 8.0, "model.head_dim"),
        ("model", "probe_layer", 0, "model.probe_layer"),
        ("model", "probe_layer", None, "model.probe_layer"),
        ("model", "fingerprint", "abc", "model.fingerprint"),
        ("model", "fingerprint", "AB" * 32, "model.fingerprint"),
        ("model", "surprise", 1, "surprise"),
        ("recipe", "layer", 3, "model.probe_layer"),
        ("recipe", "text_tokens", "some", "recipe.text_tokens"),
        ("recipe", "ablation", ["keep_one"], "calibration.ablation"),
        ("recipe", "surprise", 1, "surprise"),
        ("calibration", "manifest", "abc", "calibration.manifest"),
        ("calibration", "samples", "abc", "calibration.samples"),
        ("calibration", "samples", [1, 2, 3], "calibration.samples"),
        ("calibration", "samples", ["a", "b"], "calibration.sample_tasks"),
        ("calibration", "sample_tasks", ["a", "a", "a"], "calibration.sample_tasks"),
        ("calibration", "tasks", ["digits", "digits"], "calibration.tasks"),
        ("calibration", "tasks", ["digits", "events", "music"], "calibration.groups"),
        ("calibration", "groups", {"digits": "semantic", "events": "music"}, "groups.events"),
        ("calibration", "groups", {"digits": "uniform", "events": "acoustic"}, "groups.digits"),
        ("calibration", "groups", {"digits": ["semantic"], "events": "acoustic"}, "groups.digits"),
        ("calibration", "groups", {"digits": "semantic"}, "calibration.groups"),
        ("calibration", "groups", [], "calibration.groups"),
        ("calibration", "ratios", [0.6, 1.0], "calibration.ratios"),
        ("calibration", "ratios", ["0.6", "0.9"], "calibration.ratios"),
        ("calibration", "ratios", 0.6, "calibration.ratios"),
        ("calibration", "ratios", [0.6], "calibration.ablation"),
        ("calibration", "seed", -1, "calibration.seed"),
        ("calibration", "dtype", 16, "model.dtype"),
        ("calibration", "decoder", None, "calibration.decoder"),
    ],
)
def test_a_field_that_makes_no_sense(tmp_path, section, key, value, named):
    changed = METADATA | {section: METADATA[section] | {key: value}}
    refuse(tmp_path, with_metadata(changed), re.escape(named))


@pytest.mark.parametrize("section", ["model", "calibration"])
def test_a_missing_field(tmp_path, section):
    for key in METADATA[section]:
        rest = {name: value for name, value in METADATA[section].items() if name != key}
        refuse(tmp_path, with_metadata(METADATA | {section: rest}), f"{section} lacks {key}")
