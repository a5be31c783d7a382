"""AudioKV: what a profile has to hold, how budgets are shared, and that it is exact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from headrouter_core import families, load_profile
from headrouter_core.errors import ProfileError, ProfileMismatchError, UsageError
from headrouter_core.eviction.budgets import Room
from headrouter_core.eviction.context import evict
from headrouter_core.eviction.methods import AudioKV, View
from headrouter_core.profile.profile import Profile

from ..checking.bundles import make_calibration, make_info, make_profile, make_tensors
from ..checking.exactness import TOLERANCE, generated_error
from ..checking.matrix import inputs, tiny
from .hidden_heads import evicted_generation, hidden_generation

SCORES = torch.tensor([[0.0, 0.1], [0.2, 0.0], [0.4, 0.1], [0.9, 0.1], [0.0, 0.0], [0.1, 0.1]])
RECORD = {"top": 24, "recordings": 6, "words": 30, "stability": 0.9, "source": "digits"}
ROOM = Room((10,) * 6, (2,) * 6, ((20, 20),) * 6)


def scored(**changes: Any) -> Profile:
    tensors = make_tensors(**{"cache.heads": SCORES, "cache.heads_stderr": SCORES * 0.1} | changes)
    return make_profile(tensors=tensors, calibration=make_calibration(heads=RECORD))


def fitting(model: nn.Module) -> Profile:
    """Return a profile with head scores that is a model's own."""
    info = replace(families.model_info(model, 2), id="tiny", revision=None)
    scores = torch.rand(info.layers, info.kv_heads, generator=torch.Generator().manual_seed(1))
    return make_profile(
        model=info,
        tensors=make_tensors(
            heads=info.heads, **{"cache.heads": scores, "cache.heads_stderr": scores * 0.1}
        ),
        calibration=make_calibration(heads=RECORD),
    )


def nothing() -> list[list[torch.Tensor]]:
    return [[torch.zeros(18)] * 2] * 6


def test_a_profile_carries_head_scores_to_a_file_and_back(tmp_path: Any) -> None:
    scored().save(tmp_path / "scored.safetensors")
    loaded = load_profile(tmp_path / "scored.safetensors")
    assert loaded.head_scores is not None
    assert loaded.head_scores.equal(SCORES)
    assert loaded.calibration["heads"] == RECORD
    assert make_profile().head_scores is None


@pytest.mark.parametrize(
    "scores", [SCORES[:5], SCORES.double(), SCORES - 0.1, SCORES + 1, SCORES * torch.nan]
)
def test_head_scores_that_no_profile_may_hold(scores: torch.Tensor) -> None:
    with pytest.raises(ProfileError, match=r"cache\.heads"):
        scored(**{"cache.heads": scores})


@pytest.mark.parametrize("key", [*RECORD, "unknown"])
def test_a_record_of_head_scores_is_whole(key: str) -> None:
    record = {k: v for k, v in RECORD.items() if k != key} | (
        {"unknown": 1} if key not in RECORD else {}
    )
    with pytest.raises(ProfileError, match=r"calibration\.heads"):
        make_profile(calibration=make_calibration(heads=record))


def test_without_head_scores_the_command_that_makes_them_is_named() -> None:
    with pytest.raises(ProfileError, match="headrouter calibrate --model tiny --heads"):
        AudioKV(make_profile())
    for setting in ({"mix": 2}, {"energy": -1}, {"taper": -1}, {"budgets": "even"}, {"kernel": 2}):
        with pytest.raises(UsageError):
            AudioKV(scored(), **setting)  # type: ignore[arg-type]


def test_the_rest_goes_over_all_layers_by_what_heads_are_worth() -> None:
    counts = AudioKV(scored(), floor=0.5).share(ROOM, nothing())
    assert sum(map(sum, counts)) == 120
    assert counts[4] == [6, 6]  # two of the window, half of the other eight
    assert counts[3][0] == 20  # all that it holds; what was left over is handed on
    assert counts[2][0] > counts[1][0] > counts[0][1] > 6
    assert AudioKV(scored(), floor=1).share(ROOM, nothing()) == [[10, 10]] * 6
    assert AudioKV(scored(), budgets="uniform").share(ROOM, nothing()) == [[10, 10]] * 6


def test_shuffled_scores_are_the_same_ones_elsewhere() -> None:
    given = AudioKV(scored()).share(ROOM, nothing())
    shuffled = [
        AudioKV(scored(), budgets="shuffled", seed=seed).share(ROOM, nothing()) for seed in (0, 1)
    ]
    flat = [sorted(n for layer in counts for n in layer) for counts in (given, *shuffled)]
    assert flat[1] == flat[2]
    assert sum(flat[0]) == sum(flat[1])
    assert len({str(counts) for counts in (given, *shuffled)}) == 3


def test_scores_are_pooled_then_smoothed() -> None:
    attention = torch.rand(2, 40, generator=torch.Generator().manual_seed(0))
    view = View(0, (0, 1), torch.arange(40).expand(2, -1), attention, 0)
    plain, both = AudioKV(scored(), mix=0).score(view), AudioKV(scored()).score(view)
    assert plain.cutoff is None
    assert both.cutoff is not None
    assert (both.cutoff >= 1).all()
    assert not plain.scores.equal(both.scores)
    torch.testing.assert_close(plain.scores.mean(-1), both.scores.mean(-1))


def test_a_profile_of_another_model_is_refused() -> None:
    with (
        pytest.raises(ProfileMismatchError, match="does not fit"),
        evict(tiny("qwen2_5_omni", "sdpa"), AudioKV(scored()), 0.4),
    ):
        pass


@pytest.mark.parametrize("name", ["qwen2_5_omni", "qwen2_audio"])
@pytest.mark.parametrize("form", ["one", "left"])
def test_it_is_exact_and_says_where_smoothing_cut(name: str, form: str) -> None:
    model, given = tiny(name, "sdpa"), inputs(name, form)
    profile = fitting(model)
    heads, layers = profile.model.kv_heads, profile.model.layers
    found, entries = evicted_generation(model, given, AudioKV(profile, window=4), 0.4)
    for entry in entries:
        counts = [len(head) for layer in entry.kept for head in layer]
        assert sum(counts) == layers * heads * int(0.4 * entry.length)
        assert len(set(counts)) > 2
        assert entry.cutoff is not None
        assert [len(part) for part in entry.cutoff] == [heads] * layers
    wanted = hidden_generation(tiny(name, "eager"), given, entries)
    assert generated_error(found, wanted) < TOLERANCE


def test_make_info_has_the_layers_of_these_scores() -> None:
    assert SCORES.shape == (make_info().layers, make_info().kv_heads)
