"""How a task of lmms-eval wants its answers generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrouter_core.errors import UsageError

#: What lmms-eval fills in for tasks that name no stopping sequence.
_FILLER = ("\n\n",)
_SAMPLING = ("temperature", "top_p", "top_k")
_KNOWN = (
    "max_new_tokens",
    "min_new_tokens",
    "do_sample",
    *_SAMPLING,
    "num_beams",
    "length_penalty",
    "repetition_penalty",
    "no_repeat_ngram_size",
)


@dataclass(frozen=True)
class Generation:
    """Settings of one request; those of equal requests compare equal."""

    options: Mapping[str, Any]
    """Arguments of ``generate``."""
    until: tuple[str, ...]
    """Texts that end an answer and do not belong to it."""

    def cut(self, text: str) -> str:
        """Return what comes before the first of the texts that end an answer."""
        ends = [text.find(stop) for stop in self.until if stop in text]
        return text[: min(ends)].rstrip() if ends else text


def read_generation(given: Mapping[str, Any], max_new_tokens: int) -> Generation:
    """Read a task's ``generation_kwargs``: greedy unless it asks for sampling.

    As in lmms-eval, a temperature above 0 asks for sampling unless ``do_sample`` says otherwise,
    and a value of ``None`` is one that is not given. ``until: ["\\n\\n"]`` counts as not given:
    lmms-eval writes that into every task that has no ``until``.

    Args:
        given: ``generation_kwargs`` of the request.
        max_new_tokens: for tasks that name none.

    Raises:
        UsageError: an unknown setting, sampling at temperature 0, or an ``until`` that is no text.
    """
    named = {name: value for name, value in given.items() if value is not None}
    until = _until(named.pop("until", ()))
    unknown = sorted(set(named) - set(_KNOWN))
    if unknown:
        raise UsageError(
            f"generation_kwargs holds {unknown[0]!r}; this model knows until, {', '.join(_KNOWN)}"
        )
    temperature = named.get("temperature", 0)
    sample = bool(named.get("do_sample", temperature > 0))
    if sample and "temperature" in named and not temperature > 0:
        raise UsageError(
            f"generation_kwargs asks for do_sample at temperature {temperature}; give do_sample:"
            " false, or a temperature above 0"
        )
    options = {"max_new_tokens": max_new_tokens, "num_beams": 1, **named, "do_sample": sample}
    if not sample:
        # None and not absent: the checkpoint's own settings may hold some
        options |= dict.fromkeys(_SAMPLING)
    return Generation(options, until)


def _until(given: Any) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not all(isinstance(t, str) and t for t in texts):
        raise UsageError(f"generation_kwargs has until {given!r}; give a text or a list of texts")
    return () if tuple(texts) == _FILLER else tuple(texts)
