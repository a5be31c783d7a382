"""The readers of GGUF and of CTranslate2's format, on made-up bytes."""

import struct

import numpy as np
import pytest

from small_omni.parts import ctranslate2
from small_omni.parts.gguf import GGUF
from tests.small_omni import made_up


def test_gguf_metadata_of_every_kind():
    metadata = {
        "name": "schön",
        "layers": 3,
        "scale": 0.5,
        "tied": True,
        "words": ["a", "", "b c"],
        "types": [1, 2, 3],
    }
    assert GGUF(made_up.gguf(metadata, {})).metadata == metadata


def test_gguf_tensors_of_every_number_format():
    plain = np.arange(6, dtype="<f4").reshape(2, 3)
    signed = np.arange(-32, 32, dtype="i1").reshape(2, 32)
    scales = np.array([0.5, 2.0], "<f2")
    q8 = b"".join(s.tobytes() + row.tobytes() for s, row in zip(scales, signed, strict=True))
    # element i of the first half lies in the low half of byte i, that of the second in the high
    nibbles = np.arange(32) % 16
    packed = (nibbles[:16] | nibbles[16:] << 4).astype("u1")
    q4 = struct.pack("<ee", 0.25, -1.0) + packed.tobytes()
    read = GGUF(
        made_up.gguf(
            {"general.alignment": 32},
            {
                "plain": (0, (2, 3), plain.tobytes()),
                "eight": (8, (2, 32), q8),
                "four": (3, (1, 32), q4),
            },
        )
    )
    assert read.names == ("plain", "eight", "four")
    np.testing.assert_array_equal(read.tensor("plain"), plain)
    np.testing.assert_array_equal(read.tensor("eight"), signed * scales.astype("f4")[:, None])
    np.testing.assert_array_equal(read.tensor("four"), (nibbles * 0.25 - 1.0)[None])
    assert all(read.tensor(name).dtype == np.float32 for name in read.names)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"GGML" + bytes(40), "not a GGUF file: it begins with b'GGML'"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
    ],
)
def test_gguf_of_another_kind_is_refused(data, match):
    with pytest.raises(ValueError, match=match):
        GGUF(data)


def test_gguf_tensor_of_unknown_format_is_refused():
    read = GGUF(made_up.gguf({}, {"x": (14, (1, 256), bytes(210))}))
    with pytest.raises(ValueError, match="x is of ggml type 14"):
        read.tensor("x")


def test_ctranslate2_variables_and_aliases():
    variables = {
        "half": np.arange(6, dtype="<f2").reshape(2, 3),
        "heads": np.array(8, "<i2"),
        "table": np.arange(4, dtype="i1"),
    }
    data = made_up.ctranslate2(variables, {"same": "table"})
    specification, found = ctranslate2.read(data)
    assert specification == "WhisperSpec"
    assert set(found) == {*variables, "same"}
    for name, array in variables.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    np.testing.assert_array_equal(found["same"], variables["table"])


def test_ctranslate2_cut_or_longer_is_refused():
    data = made_up.ctranslate2({"half": np.arange(6, dtype="<f2")})
    with pytest.raises(ValueError, match="ends early: is a part missing"):
        ctranslate2.read(data[:-10])
    with pytest.raises(ValueError, match="3 bytes are left"):
        ctranslate2.read(data + b"abc")
    with pytest.raises(ValueError, match="version 5"):
        ctranslate2.read(struct.pack("<I", 5) + data[4:])
