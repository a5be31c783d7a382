"""``prune``: really removes audio tokens inside a running model, as long as its context is open."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn

from headrouter_core import families
from headrouter_core.basics.arguments import whole
from headrouter_core.engine.choice.choosing import check_selector
from headrouter_core.engine.choice.trace import Entry, Trace
from headrouter_core.engine.hooks import Engine
from headrouter_core.engine.intake import Intake
from headrouter_core.engine.prompt.budget import Budget, Keep, Ratio
from headrouter_core.engine.sessions.session import Hook, Moment, Place, Session
from headrouter_core.errors import PruningError, UsageError
from headrouter_core.families.base import Family
from headrouter_core.profile.profile import Profile
from headrouter_core.selectors.base import Need, Selector

__all__ = ["Entry", "Trace", "prune"]

DEFAULT_LAYER = 2


@contextmanager
def prune(
    model: nn.Module,
    selector: Selector,
    ratio: Ratio | None = None,
    layer: int | None = None,
    *,
    keep: Keep | None = None,
    force: bool = False,
    trace_limit: int | None = None,
    on_entry: Callable[[Entry], object] | None = None,
) -> Iterator[Trace]:
    """Prune audio tokens from every prompt that runs through ``model`` while the context is open.

    Layers 0..M-1 see the whole prompt; before layer M the audio tokens that ``selector`` does not
    keep are removed from hidden states, rotary phases, masks and the cache of all later layers,
    for the prefill and for every step that continues its cache. Kept tokens keep their positions.
    Rows are padded on the left: the last position of a pruned row is its last real token.

    Prompts of ``inputs_embeds`` alone need ``audio_mask=``, BoolTensor [B, L], True where they are
    audio: an argument of ``generate`` and of the model itself while a context is open. All else in
    them is text, begin and end of audio too. Beside ``input_ids`` nothing more is needed.

    Labels are those of the unpruned prompt: the loss is over all that are not -100, and each must
    be predicted by a token that is kept, else it raises.

    The context is that of the thread or asyncio task that opens it: several may prune one model at
    the same time, each as it asks, and those that ask for nothing get the unpruned model, bit by
    bit. Tasks that are made inside and ``asyncio.to_thread`` carry it along; other threads do not,
    so bind what they run: :meth:`Trace.bound`. If a thread that was started meanwhile ran the model
    unbound, or if others did and nothing was heard here or it is closed elsewhere, that is said on
    closing. A generator that opens it and is resumed elsewhere runs the model bound, or raises.

    A cache that was pruned can be continued here or in a later context on the same model and layer;
    elsewhere, on another model too, it raises. Models compiled by ``torch.compile`` work: parts
    that contain hooked modules are compiled once more, with graph breaks, by whoever runs them
    first while a context is open, and both kinds of graphs are kept. Those compiled with
    ``fullgraph=True`` cannot break, and raise dynamo's error as long as a context is open.
    Meanwhile the model can be neither copied nor pickled.

    Args:
        model: a loaded model of a supported family, or one that wraps it (PEFT, ``torch.compile``).
        selector: the method that chooses which audio tokens to keep.
        ratio: fraction of each row's audio tokens to remove, in [0, 1), at its decimal value; a
            list holds one a row of every forward (beams and return sequences of a row count once).
        layer: M, the first layer that sees only kept tokens; the profile's, else 2.
        keep: instead of a ratio, how many audio tokens of each row to keep, at least 1; all of them
            where a row has fewer. A list holds one a row.
        force: use a profile although its weights or probe layer are not this model's.
        trace_limit: how many entries the trace keeps; beyond, the oldest are dropped. 1000 unless
            given, and then a warning says so when the first one goes.
        on_entry: called with each entry of the trace, in the thread that ran its forward. What it
            raises comes out of that forward.

    Yields:
        The trace: one entry a row of each prefill, in order.

    Raises:
        UsageError: no selector, ratio, keep, layer or limit out of range, or this thread or task is
            pruning the model already.
        UnsupportedModelError: the architecture cannot be pruned exactly.
        ProfileMismatchError: the selector's profile belongs to another model or layer.
        SelectionError: the selector broke its contract.
        NonFiniteError: a prefill or a ``generate`` ends in logits that are NaN or infinite; it says
            where that began. (Steps by hand are not looked at: that would wait for the device.)
        PruningError: a forward cannot be pruned exactly; or, on closing, nothing was pruned of the
            audio that was seen. No error of the ``with`` block is ever masked.
    """
    intake = open_intake(model, selector, Budget(ratio, keep), layer, first=1, force=force)
    trace = Trace(trace_limit, on_entry)
    engine = Engine(intake, trace)
    outer: dict[Place, Hook] = {}
    whole = families.unwrap(model)
    if whole is not intake.anatomy.root and hasattr(whole, "generate"):
        outer[whole, Moment.GENERATE] = partial(_generate_text, intake.anatomy.family)
    with engine.attached(outer) as session:
        yield trace
    _take_stock(intake, engine.pruned, session)


def _take_stock(intake: Intake, pruned: bool, session: Session) -> None:
    """Say on closing what a context did not do."""
    if intake.owing and not pruned:
        raise PruningError(
            "audio was seen, but nothing was pruned; look for an error that was caught inside the "
            "context"
        )
    doubts = [] if intake.heard else ["no audio was seen while the model was being pruned"]
    if told := session.strangers.told(bool(doubts), ", unpruned"):
        doubts.append(told)
    if doubts:
        warnings.warn("; ".join(doubts), stacklevel=4)


def open_intake(
    model: nn.Module,
    selector: Selector,
    budget: Budget,
    layer: int | None,
    *,
    first: int,
    force: bool,
) -> Intake:
    """Hold a selector and its profile, if it has one, against a model; both ways to prune begin so.

    Args:
        model: see :func:`prune`, as for the others.
        selector: the method.
        budget: how much is kept.
        layer: M; ``None``: the profile's, else 2.
        first: the least that M may be; at 0 nothing can be probed.
        force: see :func:`prune`.

    Raises:
        UsageError, UnsupportedModelError, ProfileMismatchError: see :func:`prune`.
    """
    check_selector(selector)
    anatomy = families.locate(model)
    profile: Profile | None = getattr(selector, "profile", None)
    if layer is None:
        layer = DEFAULT_LAYER if profile is None else profile.recipe.layer
    if first or whole("layer", layer):
        anatomy.check_layer(layer)
    elif selector.needs & ~Need.HIDDEN_STATES:
        raise UsageError(
            f"layer 0 has none before it to probe, and {selector.name} reads queries or keys;"
            " choose layer 1 or later, or a selector that reads states alone, such as Segments"
        )
    if profile is not None:
        _check_profile(model, profile, layer, force)
    return Intake(anatomy, selector, budget, layer)


def _check_profile(model: nn.Module, profile: Profile, layer: int, force: bool) -> None:
    if profile.recipe.early_cache != "full":
        raise UsageError(
            f"the profile's early_cache is {profile.recipe.early_cache!r}, but layers before the "
            "pruning layer keep all their tokens here; calibrate with early_cache 'full'"
        )
    for doubt in profile.check_model(families.model_info(model, layer), force=force):
        warnings.warn(doubt, stacklevel=5)


def _generate_text(family: Family, generate: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Refuse to synthesise speech from a pruned thinker."""
    if family.speech(kwargs):
        raise PruningError(
            "the talker adds the last layer's states to the first layer's, which are more after "
            "pruning: pass generation_mode='text', or do not prune"
        )
    return generate(*args, **kwargs)
