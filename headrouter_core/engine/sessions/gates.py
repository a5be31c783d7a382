"""What stands on a model while anyone has a session on it, and leads each caller to its own hooks.

A *gate* is a hook that runs the hook in force for its caller, and does nothing where there is none.
Gates are counted: the first session puts them up, the last one takes them off. They are the same
two objects on every module, always, so that graphs of dynamo that were traced with them fit again
when they come back.

Dynamo does not look whether hooks came or went since it traced a graph. It does look whether
``forward`` became an attribute of the module itself, as when it is monkeypatched; so each gated
module gets one that changes nothing. Graphs that were traced without gates do not fit meanwhile,
and do again afterwards; no graph of another model is touched, and nothing is forgotten.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from headrouter_core.engine.sessions.session import (
    Hook,
    Hooks,
    Moment,
    Session,
    Use,
    hooks_in_force,
    overheard,
)
from headrouter_core.errors import UsageError

Undo = Callable[[], None]
Put = Callable[[nn.Module], Undo]


@contextmanager
def hooked(root: nn.Module, hooks: Hooks, use: Use = Use.PRUNING) -> Iterator[Session]:
    """Have hooks of one's own on a model, for this thread or task only.

    Waits for a compilation of dynamo that is under way: gates must not come or go in its midst.

    Args:
        root: the model.
        hooks: what runs where; a place has one hook.
        use: what the session is for.

    Raises:
        UsageError: the caller has a session of this use on this model already.
    """
    session = Session(root, hooks, use)
    standing = ExitStack()
    with session.entered():
        try:
            with _dynamo_at_rest(), _lock:
                for module, moment in hooks:
                    for put in _PUTS[moment]:
                        _put_up(module, put)
                        standing.callback(_take_off, module, put)
            yield session
        finally:
            session.close(functools.partial(_close, standing))


def _close(standing: ExitStack) -> None:
    with _dynamo_at_rest(), _lock:
        standing.close()


class _Gate:
    """A hook that runs the caller's own, if it has one."""

    def __init__(self, moment: Moment) -> None:
        self._moment = moment

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, module: nn.Module, args: Any, more: Any = None) -> Any:
        """Lead on; ``more`` is what the moment adds.

        It is missing where a gate comes or goes while a forward of somebody else passes.
        """
        hooks = [hook for _, hook in hooks_in_force(module, self._moment)]
        if hooks:
            run = _run_before if self._moment is Moment.BEFORE else _run_after
            return run(hooks, module, args, more)
        if self._moment is Moment.BEFORE:
            overheard(module)
        return None

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise UsageError(
            "a model cannot be copied or pickled while a context is open on it, by whichever"
            " thread; do so before the context opens or after it closes, or save its state_dict"
        )


def _run_before(hooks: list[Hook], module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Run each on what the one before made of the arguments; ``None``: they are as they were."""
    changed = None
    for hook in hooks:
        if (made := hook(module, args, kwargs)) is not None:
            changed = args, kwargs = made
    return changed


def _run_after(hooks: list[Hook], module: nn.Module, args: Any, output: Any) -> Any:
    """Run each on what the one before made of the output; ``None``: it is as it was."""
    changed = None
    for hook in hooks:
        if (made := hook(module, args, output)) is not None:
            changed = output = made
    return changed


_BEFORE, _AFTER = _Gate(Moment.BEFORE), _Gate(Moment.AFTER)


def _before(module: nn.Module) -> Undo:
    return module.register_forward_pre_hook(_BEFORE, with_kwargs=True).remove


def _after(module: nn.Module) -> Undo:
    return module.register_forward_hook(_AFTER).remove


def _forward(module: nn.Module) -> Undo:
    """Make ``forward`` an attribute of the module itself, or another one if it is already."""
    given = module.forward
    own = functools.partial(given) if "forward" in vars(module) else given
    return _replace(module, "forward", own)


def _generate(module: nn.Module) -> Undo:
    """Put a gate in front of ``generate``."""
    given: Any = module.generate

    @functools.wraps(given)
    def generate(*args: Any, **kwargs: Any) -> Any:
        run = given
        for session, hook in hooks_in_force(module, Moment.GENERATE):
            run = functools.partial(_calling, session, hook, run)
        return run(*args, **kwargs)

    return _replace(module, "generate", generate)


def _calling(session: Session, hook: Hook, generate: Any, *args: Any, **kwargs: Any) -> Any:
    with session.calling():
        return hook(generate, *args, **kwargs)


def _replace(module: nn.Module, name: str, value: Any) -> Undo:
    """Set an attribute of the instance; undone, unless somebody else has set it meanwhile."""
    attributes = vars(module)
    had, before = name in attributes, attributes.get(name)
    attributes[name] = value

    def undo() -> None:
        if attributes.get(name) is not value:
            return
        if had:
            attributes[name] = before
        else:
            del attributes[name]

    return undo


_PUTS: dict[Moment, tuple[Put, ...]] = {
    Moment.BEFORE: (_before, _forward),
    Moment.AFTER: (_after, _forward),
    Moment.GENERATE: (_generate,),
}

_lock = threading.RLock()
_standing: weakref.WeakKeyDictionary[nn.Module, dict[Put, tuple[int, Undo]]] = (
    weakref.WeakKeyDictionary()
)


def _put_up(module: nn.Module, put: Put) -> None:
    """Put up what is not there yet, and count."""
    there = _standing.setdefault(module, {})
    count, undo = there[put] if put in there else (0, put(module))
    there[put] = count + 1, undo


def _take_off(module: nn.Module, put: Put) -> None:
    """Take off what nobody needs any more."""
    there = _standing[module]
    count, undo = there.pop(put)
    if count > 1:
        there[put] = count - 1, undo
    else:
        undo()


def _dynamo_at_rest() -> AbstractContextManager[Any]:
    """Keep dynamo from compiling: guards are made of what is there at the end of a trace."""
    frames: Any = sys.modules.get("torch._dynamo.convert_frame")
    return nullcontext() if frames is None else frames.compile_lock
