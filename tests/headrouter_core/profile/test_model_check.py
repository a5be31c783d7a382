"""Whether a profile fits a model: fingerprints, refusals, doubts."""

import hashlib

import pytest
import torch

from headrouter_core.errors import (
    ProfileMismatchError,
)
from headrouter_core.profile.profile import fingerprint

from ..checking.bundles import make_info, make_profile


def projections(dtype=torch.bfloat16, seed=0, bias=True):
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(16, 8, generator=generator), torch.randn(4, 8, generator=generator)]
    return [
        (weight.bfloat16().to(dtype), weight[:, 0].bfloat16().to(dtype) if bias else None)
        for weight in weights
    ]


def test_fingerprint_is_pinned():
    weight = torch.arange(6.0).view(2, 3)
    expected = hashlib.sha256(
        b"weight 2x3\n" + b"\x00\x00\x80\x3f\x00\x40\x40\x40\x80\x40\xa0\x40" + b"bias none\n"
    ).hexdigest()
    assert fingerprint([(weight, None)]) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_fingerprint_does_not_depend_on_dtype_or_layout(dtype):
    marks = {
        fingerprint(projections()),
        fingerprint(projections(dtype)),
        fingerprint((w.t().contiguous().t(), b) for w, b in projections(dtype)),
    }
    assert len(marks) == 1


def test_fingerprint_tells_weights_apart():
    (query, query_bias), (key, key_bias) = projections()
    changed = query.clone()
    changed[3, 3] += 0.5
    variants = [
        [(query, query_bias), (key, key_bias)],
        [(key, key_bias), (query, query_bias)],
        [(query, None), (key, None)],
        [(query, query_bias), (key, None)],
        [(changed, query_bias), (key, key_bias)],
        [(query.view(8, 16), query_bias), (key, key_bias)],
    ]
    assert len({fingerprint(variant) for variant in variants}) == len(variants)


class Foreign(torch.Tensor):
    """A weight as torchao's and DTensor's are: it says it is of floats, and can do nothing."""

    @staticmethod
    def of(values):
        return torch.Tensor._make_wrapper_subclass(Foreign, values.shape, dtype=values.dtype)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:  # nn.Parameter asks for it
            return args[0]
        raise NotImplementedError(f"{func} of a foreign tensor")


@pytest.mark.parametrize(
    "weight",
    [
        torch.ones(2, 2, dtype=torch.uint8),
        torch.empty(2, 2, device="meta"),
        torch.ones(2, 2).to(torch.float8_e4m3fn),
        torch.ones(2, 2).to_sparse(),
        Foreign.of(torch.ones(2, 2)),
        torch.nn.Parameter(Foreign.of(torch.ones(2, 2))),
    ],
)
def test_quantised_weights_have_no_fingerprint(weight):
    assert fingerprint([(weight, None)]) is None


def test_the_calibrated_model_passes_without_warning():
    assert make_profile().check_model(make_info()) == []


def test_the_name_alone_decides_nothing():
    assert make_profile().check_model(make_info(id="somewhere/else")) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "ef" * 32},
        {"probe_layer": 2},
        {"fingerprint": None, "family": "qwen2_audio"},
        {"fingerprint": None, "layers": 7},
        {"fingerprint": None, "kv_heads": 4},
        {"fingerprint": None, "head_dim": 16},
    ],
)
def test_a_foreign_model_is_refused_unless_forced(changes):
    name = list(changes)[-1]
    with pytest.raises(ProfileMismatchError, match=rf"{name} is .*headrouter calibrate"):
        make_profile().check_model(make_info(**changes))
    warnings = make_profile().check_model(make_info(**changes), force=True)
    assert name in warnings[0]


def test_another_head_count_is_never_forced():
    with pytest.raises(ProfileMismatchError, match=r"weighs 4 heads .* has 8"):
        make_profile().check_model(make_info(heads=8), force=True)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"fingerprint": None}, "cannot be compared"),
        ({"revision": "ffff"}, "revision is ffff, calibrated was 0123abc"),
        ({"dtype": "bfloat16"}, "dtype is bfloat16, calibrated was float32"),
    ],
)
def test_doubts_are_warnings(changes, word):
    (warning,) = make_profile().check_model(make_info(**changes))
    assert word in warning


def test_a_quantised_calibration_cannot_be_compared_either():
    (warning,) = make_profile(model=make_info(fingerprint=None)).check_model(make_info())
    assert "cannot be compared" in warning


def test_an_unknown_revision_is_no_doubt():
    assert make_profile().check_model(make_info(revision=None)) == []


def test_other_library_versions_are_doubts_and_other_builds_are_not():
    versions = {"torch": "1.0.0", "transformers": "4.0.0", "soxr": "0.1"}
    warnings = make_profile(versions=versions).check_model(make_info())
    assert [warning.split()[0] for warning in warnings] == ["torch", "transformers"]
    build = torch.__version__.partition("+")[0] + "+another"
    assert make_profile(versions={"torch": build}).check_model(make_info()) == []
