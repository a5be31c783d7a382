"""What a prefill takes by the length of a recording, unpruned and pruned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calibrate.planning.blueprint import Blueprint
from calibrate.planning.costs import Costs, Peak
from calibrate.planning.encoder import Encoder
from calibrate.planning.hearing import Heard, Prompt, weigh

#: Lengths that are always shown, in seconds.
SHOWN = (60.0, 300.0, 900.0, 3600.0)


@dataclass(frozen=True)
class Prefill:
    """What one recording's prefill takes."""

    heard: Heard
    flops: tuple[int, int]
    """Of the decoder: unpruned, pruned."""
    cache: tuple[int, int]
    """Bytes that it leaves."""
    peak: tuple[Peak, Peak]
    encoder: int | None
    """Operations of the encoder; ``None`` where it is not counted."""

    @property
    def saved(self) -> float:
        """Share of the decoder's operations that pruning saves."""
        whole, pruned = self.flops
        return 1 - pruned / whole

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints of it."""
        return {
            "seconds": round(self.heard.seconds, 6),
            "audio_tokens": self.heard.audio_tokens,
            "kept": self.heard.kept,
            "fits": not self.heard.reasons,
            "encoder_flops": self.encoder,
            **{
                name: {
                    "flops": self.flops[number],
                    "cache_bytes": self.cache[number],
                    "peak_bytes": self.peak[number].bytes,
                    "weight_bytes": self.peak[number].weights,
                    "cache_bytes_at_peak": self.peak[number].cache,
                    "transient_bytes": self.peak[number].transient,
                    "transient": self.peak[number].what,
                }
                for number, name in enumerate(("unpruned", "pruned"))
            },
        }


class Prefills:
    """Prefills of one model, at one ratio and layer."""

    def __init__(self, blueprint: Blueprint, prompt: Prompt, ratio: float, layer: int) -> None:
        self._blueprint = blueprint
        self._prompt = prompt
        self._ratio = ratio
        self._layer = layer
        self._costs = Costs.of(blueprint)
        self._encoder = Encoder.of(blueprint)

    def shown(self) -> list[Prefill]:
        """Return those of :data:`SHOWN`."""
        return [
            self.of(weigh(self._blueprint, self._prompt, "", [seconds], self._ratio))
            for seconds in SHOWN
        ]

    def of(self, heard: Heard) -> Prefill:
        """Return what a recording takes as a whole, whether it can be asked about or not."""
        total, kept = heard.prompt, heard.text_tokens + heard.kept
        ways = [self._costs.columns(total, seen, self._layer) for seen in (total, kept)]
        flops, cache, peak = (
            tuple(measure(columns) for columns in ways)
            for measure in (self._costs.flops, self._costs.cache_bytes, self._costs.peak)
        )
        encoder = None if self._encoder is None else self._encoder.flops(heard.seconds)
        return Prefill(heard, flops, cache, peak, encoder)  # type: ignore[arg-type]
