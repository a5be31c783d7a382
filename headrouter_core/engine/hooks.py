"""The hooks of one pruning context: what happens to a forward pass on its way through the model.

A forward is one of three kinds. A *prefill* starts with an empty cache, or brings audio behind one:
its rows are read, the probe layer is watched, and on entry to layer M the dropped tokens leave the
hidden states, the rotary phases and the masks. A *continuation* finds a cache that was pruned
before: layers from M on get masks of their own length. Anything else runs untouched, bit by bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import torch
from torch import nn

from headrouter_core.engine.choice.choosing import choose_each, entry
from headrouter_core.engine.choice.probe import Capture, check_length, watch
from headrouter_core.engine.choice.trace import Trace
from headrouter_core.engine.forwards import Forward, Generation, Prefill
from headrouter_core.engine.intake import Intake, has_gaps, refuse_packing
from headrouter_core.engine.prompt.audio_masks import NAME as AUDIO_MASK
from headrouter_core.engine.prompt.audio_masks import take_mask
from headrouter_core.engine.sessions.gates import hooked
from headrouter_core.engine.sessions.session import Hook, Hooks, Moment, Place, Session
from headrouter_core.engine.settling import note, settle, settle_steps
from headrouter_core.engine.shortening.columns import Columns
from headrouter_core.engine.shortening.layout import compact
from headrouter_core.engine.shortening.losses import with_loss
from headrouter_core.engine.shortening.memory import check_lengths, check_level, recall, remember
from headrouter_core.errors import PruningError
from headrouter_core.families.calls import Parameters
from headrouter_core.families.contract import check_call, check_moved, check_returned, check_tokens

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Engine:
    """Prunes what runs through one model in its session, from whichever thread."""

    pruned = False
    """Whether anything was."""

    def __init__(self, intake: Intake, trace: Trace) -> None:
        """Set up; nothing is attached yet.

        Args:
            intake: reads what a forward brings.
            trace: where entries go.
        """
        self._trace = trace
        self._intake = intake
        self._anatomy = intake.anatomy
        self._layer = intake.layer
        self._parameters = Parameters(intake.anatomy.root)
        self._local = threading.local()

    @contextmanager
    def attached(self, outer: Hooks) -> Iterator[Session]:
        """Be in force on the model, for this thread or task, together with ``outer`` hooks."""
        with hooked(self._anatomy.root, {**self._hooks(), **outer}) as session:
            self._trace.session = session
            yield session

    @contextmanager
    def generating(self, ids: torch.Tensor | None) -> Iterator[Generation]:
        """Tell this thread's forwards that they belong to a ``generate`` of these input ids."""
        outer, generation = self._generation, Generation(None if ids is None else ids.cpu())
        self._local.generation = generation
        try:
            yield generation
        finally:
            self._local.generation = outer

    @property
    def _generation(self) -> Generation | None:
        return getattr(self._local, "generation", None)

    @property
    def _forward(self) -> Forward:
        forward: Forward | None = getattr(self._local, "forward", None)
        if forward is None:
            raise PruningError(
                f"a decoder layer ran outside the forward of {type(self._anatomy.root).__name__}, "
                "which knows what is audio; call the model itself, not a part of it, and train it "
                "without gradient checkpointing"
            )
        return forward

    def _capture(self) -> Capture | None:
        prefill = self._forward.prefill
        return None if prefill is None else prefill.capture

    def _hooks(self) -> dict[Place, Hook]:
        root = self._anatomy.root
        hooks: dict[Place, Hook] = {
            (root, Moment.GENERATE): self._generate,
            (root, Moment.BEFORE): self._enter,
            (root, Moment.AFTER): self._leave,
            (self._anatomy.layers[0], Moment.BEFORE): self._start,
            **watch(self._intake.probed, self._intake.selector.needs, self._capture),
        }
        for index, layer in enumerate(self._anatomy.layers):
            if index >= self._layer:
                hooks[layer, Moment.BEFORE] = partial(self._change, index, Parameters(layer))
        return hooks

    def _generate(
        self,
        generate: Callable[..., Any],
        inputs: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """In place of the model's ``generate``: know its prompt while it runs."""
        given = {**kwargs, "input_ids": inputs} if inputs is not None else kwargs
        _, read = take_mask(given, self._anatomy.audio_ids[0])
        kwargs.pop(AUDIO_MASK, None)
        with self.generating(read.get("input_ids")) as generation:
            output = generate(inputs, *args, **kwargs)
        if not generation.forwards:
            raise PruningError(
                "generate ran without the model's hooks: it goes past them, as a compiled graph may"
                " that was traced before; prune before compiling"
            )
        settle_steps(self._anatomy.root, generation)
        return output

    def _enter(
        self, root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Arguments | None:
        """Before the model: find out what kind of forward this is."""
        self._local.forward = None
        masked = AUDIO_MASK in kwargs
        _, call = take_mask(self._parameters.read(args, kwargs), self._anatomy.audio_ids[0])
        forward = self._local.forward = self._intake.take(call, self._generation)
        if not masked and not forward.owes_loss:
            return None
        kwargs = {name: value for name, value in kwargs.items() if name != AUDIO_MASK}
        instead = {"labels": None} if forward.owes_loss else {}
        return self._parameters.change(args, kwargs, instead)

    def _start(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the first layer: from here on the cache may change."""
        forward = self._forward
        call = Parameters(layer).read(args, kwargs)
        given = forward.call.get("cache")
        forward.cache = call.get("cache") if given is None else given
        check_call(layer, call, forward.cache)
        if (memory := recall(forward.cache)) is not None:
            memory.lend(self._trace.session)

    def _leave(self, root: nn.Module, args: Any, output: Any) -> Any:
        """After the model: make sure that what was done is sound, and let it count."""
        forward, self._local.forward = self._forward, None
        expected = len(self._anatomy.layers) - self._layer if forward.columns else 0
        if forward.prefill is not None or forward.layers != expected:
            self._refuse_detour()
        settle(self._intake, forward, output)
        if forward.columns is not None:
            check_returned(output, forward.cache)
            if (memory := recall(forward.cache)) is not None:
                check_lengths(forward.cache, forward.columns)
                memory.end(forward.columns)
        self.pruned |= forward.compaction is not None
        if (prefill := forward.unchecked) is not None:
            if prefill.generation is not None:
                prefill.generation.decided = prefill
            self._trace._extend(map(entry, prefill.rows, prefill.selections))
        elif (generation := self._generation) is not None:
            note(generation, output)
        if forward.compaction is not None and forward.owes_loss:
            return with_loss(root, forward.call, forward.compaction, output)
        return None

    def _refuse_detour(self) -> NoReturn:
        """Refuse a forward that went past the hooks of some layers."""
        raise PruningError(
            f"not every layer from {self._layer} on was reached: something (a compiled graph?) "
            "calls layers without their hooks; prune before compiling"
        )

    def _change(
        self,
        index: int,
        parameters: Parameters,
        layer: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Arguments | None:
        """Before a layer from M on: make its arguments those of the kept tokens."""
        forward = self._forward
        call = parameters.read(args, kwargs)
        if forward.prefill is not None:
            if index != self._layer:
                self._refuse_detour()
            check_call(layer, call, forward.cache)
            self._decide(forward, forward.prefill, layer, call)
        if forward.columns is None:
            return None
        check_call(layer, call, forward.cache)
        hidden = call["hidden_states"]
        changes: dict[str, Any] = {}
        if forward.compaction is not None:
            if index == self._layer:
                hidden = changes["hidden_states"] = forward.compaction.states(hidden)
            for name in ("position_embeddings", *self._anatomy.family.per_token):
                changes[name] = forward.moved(call.get(name))
                check_moved(layer, name, changes[name], hidden.shape[-2])
        changes["attention_mask"] = forward.mask(self._anatomy, index, hidden, forward.cache)
        # kept positions have gaps, which flash kernels take for several packed sequences
        changes["position_ids"] = None
        forward.layers += 1
        return parameters.change(args, kwargs, changes)

    def _decide(
        self, forward: Forward, prefill: Prefill, layer: nn.Module, call: Mapping[str, Any]
    ) -> None:
        """On entry to layer M: select, and lay out what is left."""
        hidden = call["hidden_states"]
        check_length(hidden.shape[-2], prefill.real.shape[1])
        self._select(forward, prefill, hidden)
        before = prefill.before
        if prefill.pruned:
            if forward.cache is None and has_gaps(prefill.positions):
                refuse_packing()
            check_tokens(layer, call, (*forward.call, *self._anatomy.family.per_token))
            if before is None:
                before = self._unpruned(forward.cache, prefill, hidden.device)
            forward.compaction = compact(before, prefill.rows, prefill.selections, prefill.real)
            forward.columns = forward.compaction.columns
            if forward.cache is not None:
                memory = remember(forward.cache, before, self._anatomy.root)
                memory.change()  # layers before this one have added to it
                memory.lend(self._trace.session)
        elif before is not None:
            forward.columns = before.grown(prefill.real.shape[1]).seen(prefill.shown)
        forward.prefill = None

    def _unpruned(self, cache: Any, prefill: Prefill, device: torch.device) -> Columns:
        """Return the columns of a cache that was filled without pruning."""
        rows, first = len(prefill.real), prefill.first
        columns = Columns.untouched(self._layer, rows, first, device)
        if not first:
            return columns
        check_level(cache, self._layer, first, prefill.real.shape[1])
        return columns.seen(None if prefill.shown is None else prefill.shown[:, :first])

    def _select(self, forward: Forward, prefill: Prefill, hidden: torch.Tensor) -> None:
        """Choose each row's tokens, once for each prompt."""
        generation = prefill.generation
        if generation is not None and generation.decided is not None:
            prefill.selections = generation.decided.selections
            return
        first, capture, prefill.capture = self._trace.total, prefill.capture, None
        prefill.selections = choose_each(
            self._intake.selector, prefill.rows, capture, hidden, first=first
        )
        forward.unchecked = prefill
