"""``prune``: really removes audio tokens inside a running model, as long as its context is open."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from headrouter_core import families
from headrouter_core.choice import check_selector
from headrouter_core.engine import Engine
from headrouter_core.errors import PruningError, UsageError
from headrouter_core.families.base import Family
from headrouter_core.prompt import Reader
from headrouter_core.selectors.base import Selector
from headrouter_core.sessions import claimed, without_graphs
from headrouter_core.trace import Entry, Trace

__all__ = ["Entry", "Trace", "prune"]

DEFAULT_LAYER = 2


@contextmanager
def prune(
    model: nn.Module,
    selector: Selector,
    ratio: float,
    layer: int | None = None,
    *,
    force: bool = False,
) -> Iterator[Trace]:
    """Prune audio tokens from every prompt that runs through ``model`` while the context is open.

    Layers 0..M-1 see the whole prompt; before layer M the audio tokens that ``selector`` does not
    keep are removed from hidden states, rotary phases, masks and the cache of all later layers,
    for the prefill and for every step that continues its cache. Kept tokens keep their positions.
    Rows are padded on the left: the last position of a pruned row is its last real token.

    A cache that was pruned can be continued here or in a later context on the same model and layer;
    elsewhere it raises. Models compiled by ``torch.compile`` work, but dynamo has to forget their
    graphs when the context opens and closes: keep one context open over many inputs.

    Args:
        model: a loaded model of a supported family, or one that wraps it (PEFT, ``torch.compile``).
        selector: the method that chooses which audio tokens to keep.
        ratio: fraction of each row's audio tokens to remove, in [0, 1), at its decimal value.
        layer: M, the first layer that sees only kept tokens; the profile's, else 2.
        force: use a profile although its weights or probe layer are not this model's.

    Yields:
        The trace: one entry a row of each prefill, in order.

    Raises:
        UsageError: no selector, ratio or layer out of range, or the model is being pruned already.
        UnsupportedModelError: the architecture cannot be pruned exactly.
        ProfileMismatchError: the selector's profile belongs to another model or layer.
        SelectionError: the selector broke its contract.
        NonFiniteError: a prefill ends in logits that are NaN or infinite; it says where that began.
        PruningError: a forward cannot be pruned exactly; or, on closing, nothing was pruned of the
            audio that was seen. No error of the ``with`` block is ever masked.
    """
    check_selector(selector)
    anatomy = families.locate(model)
    layer = default_layer(selector) if layer is None else layer
    anatomy.check_layer(layer)
    check_profile(model, selector, layer, force)
    reader = Reader(anatomy.audio_ids, anatomy.marker_ids, selector.text_tokens, ratio)
    engine = Engine(anatomy, selector, reader, layer)
    with ExitStack() as stack:
        stack.enter_context(claimed(anatomy.root))
        stack.enter_context(without_graphs())
        stack.enter_context(engine.attached())
        stack.enter_context(_wrapped(anatomy.root, _generate_here(engine)))
        outer = families.unwrap(model)
        if outer is not anatomy.root and hasattr(outer, "generate"):
            stack.enter_context(_wrapped(outer, _generate_text(anatomy.family)))
        yield engine.trace
    tally = engine.tally
    if tally.owing and not tally.pruned:
        raise PruningError(
            "audio was seen, but nothing was pruned; look for an error that was caught inside the "
            "context"
        )
    if not tally.heard:
        warnings.warn("no audio was seen while the model was being pruned", stacklevel=3)


def default_layer(selector: Selector) -> int:
    profile = getattr(selector, "profile", None)
    return DEFAULT_LAYER if profile is None else profile.recipe.layer


def check_profile(model: nn.Module, selector: Selector, layer: int, force: bool) -> None:
    """Hold the selector's profile, if it has one, against the model."""
    profile = getattr(selector, "profile", None)
    if profile is None:
        return
    if profile.recipe.early_cache != "full":
        raise UsageError(
            f"the profile's early_cache is {profile.recipe.early_cache!r}, but layers before the "
            "pruning layer keep all their tokens here; calibrate with early_cache 'full'"
        )
    for doubt in profile.check_model(families.model_info(model, layer), force=force):
        warnings.warn(doubt, stacklevel=4)


@contextmanager
def _wrapped(model: nn.Module, wrap: Callable[[Any], Any]) -> Iterator[None]:
    """Put a wrapper around ``model.generate``; an own attribute of the instance is put back."""
    own = vars(model).get("generate")
    model.generate = wrap(model.generate)
    try:
        yield
    finally:
        del model.generate
        if own is not None:
            model.generate = own


def _generate_here(engine: Engine) -> Callable[[Any], Any]:
    """Tell the engine what the prompt is while ``generate`` runs."""

    def wrap(generate: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(generate)
        def generate_pruned(inputs: torch.Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
            ids = kwargs.get("input_ids") if inputs is None else inputs
            with engine.generating(ids) as generation:
                output = generate(inputs, *args, **kwargs)
            if not generation.forwards:
                raise PruningError(
                    "generate ran without the model's hooks: a compiled graph that dynamo did not "
                    "forget; prune before compiling"
                )
            return output

        return generate_pruned

    return wrap


def _generate_text(family: Family) -> Callable[[Any], Any]:
    """Refuse to synthesise speech from a pruned thinker."""

    def wrap(generate: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(generate)
        def generate_text(*args: Any, **kwargs: Any) -> Any:
            if family.speech(kwargs):
                raise PruningError(
                    "the talker adds the last layer's states to the first layer's, which are more "
                    "after pruning: pass generation_mode='text', or do not prune"
                )
            return generate(*args, **kwargs)

        return generate_text

    return wrap
