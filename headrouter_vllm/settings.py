"""What a server was started with, and what a request asks for instead; imports no vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from headrouter_core.basics.arguments import one_of, real, shown
from headrouter_core.errors import HeadRouterError, UsageError
from headrouter_core.scoring import exact_ratio
from headrouter_vllm.errors import RequestError

#: The key of our settings, in ``--hf-overrides`` and in ``mm_processor_kwargs``.
KEY = "headrouter"
#: By the sound alone, and by the question too.
BY_CONTENT = ("frame", "segments")
BY_QUESTION = ("headrouter", "adaptive_segments")
METHODS = (*BY_CONTENT, *BY_QUESTION)
#: What only some methods read.
_CUTTING = {"change": 4.0, "merge": 1.0}
_CUTTERS = ("segments", "adaptive_segments")
#: What a request may say; the rest is the server's.
PER_REQUEST = ("ratio", "method", *_CUTTING)


@dataclass(frozen=True)
class Settings:
    """How the audio of a request is pruned; each audio has a budget of its own."""

    ratio: str = "0"
    """r in [0, 1) at its decimal value, as a fraction."""
    method: str = "frame"
    """One of :data:`METHODS`."""
    change: float | None = None
    """Exponent of the step, of ``segments`` and ``adaptive_segments``; ``None``: theirs."""
    merge: float | None = None
    """Share of a segment's mean, likewise."""
    profile: str | None = None
    """What ``load_profile`` takes: methods by the question need one."""
    positions: str = "kept"
    """``renumbered`` asks for models whose tokens vLLM numbers anew."""
    unproven: bool = False
    """Serve what nobody has compared with transformers yet."""
    force: bool = False
    """Take a profile although its weights or probe layer are not this model's."""

    @property
    def reads_question(self) -> bool:
        """Whether what is kept depends on the rest of the prompt."""
        return self.method in BY_QUESTION

    def chosen_by(self) -> dict[str, Any]:
        """Return what, of these settings, decides what is kept: for hashes and for the model."""
        parts = asdict(self)
        return {name: parts[name] for name in PER_REQUEST if parts[name] is not None}

    @classmethod
    def at_start(cls, given: object) -> Settings:
        """Read ``--hf-overrides``' part.

        Raises:
            UsageError: it is no object, or names or values are none of these.
        """
        settings = _changed(cls(), given, [field.name for field in fields(cls)], "--hf-overrides")
        one_of("headrouter.positions", settings.positions, ("kept", "renumbered"))
        for name in ("unproven", "force"):
            if not isinstance(getattr(settings, name), bool):
                value = shown(getattr(settings, name))
                raise UsageError(f"headrouter.{name} is {value}; it must be true or false")
        if not isinstance(settings.profile, str | None):
            raise UsageError(f"headrouter.profile is {shown(settings.profile)}; it must be text")
        _check_profiled(settings)
        return settings

    def asked(self, given: object) -> Settings:
        """Return what a request gets that says ``given`` in its ``mm_processor_kwargs``.

        Raises:
            RequestError: the request says what it may not, or values are none.
        """
        try:
            settings = _changed(self, given, PER_REQUEST, "mm_processor_kwargs")
            _check_profiled(settings)
        except HeadRouterError as error:
            raise RequestError(str(error)) from error
        return settings


def _changed(settings: Settings, given: object, known: Any, where: str) -> Settings:
    if not isinstance(given, Mapping):
        raise UsageError(
            f'"{KEY}" of {where} is {shown(given)}; it must be an object, say {{"ratio": 0.6}}'
        )
    unknown = [name for name in given if name not in known]
    if unknown:
        starts = unknown[0] in {field.name for field in fields(Settings)}
        hint = "is a setting of the server's start" if starts else "is no setting"
        raise UsageError(f'{shown(unknown[0])} {hint}; "{KEY}" of {where} takes {", ".join(known)}')
    changed = replace(settings, **given)
    one_of("headrouter.method", changed.method, METHODS)
    for name, high in _CUTTING.items():
        if given.get(name) is None:
            continue
        if changed.method not in _CUTTERS:
            raise UsageError(
                f"{name} is nothing that {changed.method} knows; it is for {' and '.join(_CUTTERS)}"
            )
        real(f"headrouter.{name}", given[name], 0, high)
    return replace(changed, ratio=str(exact_ratio(changed.ratio)))


def _check_profiled(settings: Settings) -> None:
    if settings.reads_question and settings.profile is None:
        raise UsageError(
            f"{settings.method} reads the question by a calibrated profile, and the server has"
            f' none: start it with --hf-overrides \'{{"{KEY}": {{"profile": "FILE"}}}}\', or use'
            f" {' or '.join(BY_CONTENT)}"
        )
