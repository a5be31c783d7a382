"""What can go wrong either works exactly or says what to do; the model is left as found."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import transformers

from headrouter_core import families
from headrouter_core.errors import (
    ProfileMismatchError,
    PruningError,
    SelectionError,
    UsageError,
)
from headrouter_core.profile.recipe import Recipe
from headrouter_core.pruning.context import prune
from headrouter_core.selectors import HeadRouter
from headrouter_core.selectors.base import Selection, View

from ...checking.bundles import make_profile, make_tensors
from ...checking.guarded import ONE, fixture_model, not_opened, refused
from ...checking.probes import Affinity, Scattered
from ...tiny.families import decoder_layers
from ...tiny.models import batch, row

model = fixture_model
GREEDY = {"max_new_tokens": 3, "do_sample": False}


# --- what happens inside the block stays what it is


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_errors_inside_a_forward_come_out_unmasked(model: Any, kind: Any, layer: int) -> None:
    def fail(*_: Any) -> None:
        raise kind("mine")

    handle = decoder_layers(model)[layer].register_forward_pre_hook(fail)
    try:
        with refused("mine", model, Affinity(), 0.6, 2, kind=kind):
            model(**batch(ONE))
    finally:
        handle.remove()


def test_an_interrupt_inside_generate(model: Any) -> None:
    class Interrupt(transformers.LogitsProcessor):
        def __call__(self, ids: Any, scores: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), prune(model, Affinity(), 0.6):
        model.generate(**batch(ONE), logits_processor=[Interrupt()])
    with refused("outside the forward", model, Affinity(), 0.6):  # nothing is left of before
        decoder_layers(model)[3](torch.zeros(1, 2, 64))


def test_an_error_that_was_caught_inside_shows_when_the_context_closes(model: Any) -> None:
    with (
        pytest.raises(PruningError, match="audio was seen, but nothing was pruned"),
        prune(model, Affinity(), 0.6),
        pytest.raises(PruningError, match="packed into one row"),
    ):
        model(**batch(ONE), cu_seq_lens_q=torch.tensor([0, 26, 41]))


def test_no_audio_warns_where_the_context_was_opened(model: Any) -> None:
    with (
        pytest.warns(UserWarning, match="no audio was seen") as caught,
        prune(model, Affinity(), 0.6),
    ):
        model(**batch([row("only text")]))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with prune(model, Affinity(), 0):  # audio was seen, nothing had to go
            model(**batch(ONE))


# --- arguments


@pytest.mark.parametrize("layer", [0, 6, -1])
def test_layers_out_of_range(model: Any, layer: int) -> None:
    not_opened(
        rf"layer {layer} is outside \[1, 5\]", model, Affinity(), 0.6, layer, kind=UsageError
    )


@pytest.mark.parametrize("ratio", [1, -0.1, "much", float("nan")])
def test_ratios_out_of_range(model: Any, ratio: Any) -> None:
    not_opened("ratio", model, Affinity(), ratio, kind=UsageError)


def test_unknown_text_tokens(model: Any) -> None:
    not_opened("'before'", model, Affinity("before"), 0.6, kind=UsageError)


def test_profiles_are_held_against_the_model(model: Any) -> None:
    info = families.model_info(model, 3)
    fitting = make_profile(model=info, recipe=Recipe(layer=3))
    with prune(model, HeadRouter(fitting), 0.6):
        cache = model(**batch(ONE), use_cache=True).past_key_values
        lengths = [cache.get_seq_length(index) for index in range(6)]
    assert lengths == [len(ONE[0])] * 3 + [len(ONE[0]) - 12] * 3  # the profile's M

    not_opened("probe_layer", model, HeadRouter(fitting), 0.6, layer=2, kind=ProfileMismatchError)
    foreign = replace(fitting, model=replace(info, fingerprint="0" * 64))
    not_opened("fingerprint", model, HeadRouter(foreign), 0.6, kind=ProfileMismatchError)
    with (
        pytest.warns(UserWarning, match="fingerprint") as caught,
        prune(model, HeadRouter(foreign), 0.6, force=True),
    ):
        model(**batch(ONE))
    assert caught[0].filename == __file__
    long = replace(fitting, tensors=make_tensors(heads=8), model=replace(info, heads=8))
    for force in (False, True):  # eight weights cannot weigh four heads
        with (
            pytest.raises(ProfileMismatchError, match=r"weighs 8 heads and layer 2 of .* has 4"),
            prune(model, HeadRouter(long), 0.6, force=force),
        ):
            pytest.fail("opened")
    short = replace(fitting, recipe=replace(fitting.recipe, early_cache="pruned"))
    not_opened("early_cache", model, HeadRouter(short), 0.6, kind=UsageError)


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        ([0, 1], r"torch.int64 tensor \[2\] instead of a LongTensor \[8\]"),
        ([0.0, 1, 2, 3, 4, 5, 6, 7], r"torch.float32"),
        ([0, 1, 2, 3, 4, 5, 7, 6], "ascending ones from 0 to 19"),
        ([0, 1, 2, 3, 4, 5, 6, 6], "ascending ones from 0 to 19"),
        ([-1, 1, 2, 3, 4, 5, 6, 7], "ascending ones from 0 to 19"),
        ([0, 1, 2, 3, 4, 5, 6, 20], "ascending ones from 0 to 19"),
    ],
)
def test_selectors_that_break_their_contract(model: Any, kept: list[Any], found: str) -> None:
    @dataclass(frozen=True)
    class Broken(Scattered):
        def __call__(self, view: View, k: int) -> Selection:
            return Selection(torch.tensor(kept))

    with refused(found, model, Broken(), 0.6, kind=SelectionError):
        model(**batch(ONE))


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("importance", r"importance .* \[3\] instead of a floating tensor \[20\]"),
        ("states", r"states .* \[3\] instead of a floating tensor \[8, 64\]"),
    ],
)
def test_selectors_that_return_another_length(model: Any, field: str, found: str) -> None:
    @dataclass(frozen=True)
    class Broken(Scattered):
        def __call__(self, view: View, k: int) -> Selection:
            return replace(super().__call__(view, k), **{field: torch.zeros(3)})

    with refused(found, model, Broken(), 0.6, kind=SelectionError):
        model(**batch(ONE))


def test_a_prompt_without_the_text_that_is_probed(model: Any) -> None:
    inputs = batch([row("system", 20)])
    with refused("there is none after the audio", model, Affinity("after"), 0.6):
        model(**inputs)
    with prune(model, Affinity("after"), 0) as trace:
        model(**inputs)
    assert trace[0].importance is None
    with refused("there is none;", model, Affinity(), 0.6):
        model(**batch([row(20)]))


# --- contexts


def test_an_own_generate_of_the_instance_is_put_back(model: Any) -> None:
    mine = model.generate
    model.generate = mine
    try:
        with prune(model, Affinity(), 0.6) as trace:
            model.generate(**batch(ONE), **GREEDY)
        assert len(trace) == 1
        assert model.generate is mine
    finally:
        del model.generate
