"""One sample on entry to the pruning layer: on the device while it is asked, parked meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from calibrate.estimation.replay.parking import Parking, settled
from calibrate.estimation.replay.prefix import Prefix, capture
from calibrate.estimation.samples.sample import Sample
from calibrate.models.named import Loaded
from calibrate.sound.reading import SAMPLE_RATE, resample
from headrouter_core import scoring
from headrouter_core.engine.prompt.reading import TEXT_TOKENS
from headrouter_core.errors import NonFiniteError

#: What a journal keeps, JSON-ready.
Record = dict[str, Any]


@dataclass
class Held:
    """What is needed to run a sample: on the device, but for the probes [H, N_a]."""

    prefix: Prefix
    probes: dict[str, torch.Tensor] = field(default_factory=dict)


class HeldSample:
    """A sample with its prefix.

    Args:
        loaded: the model.
        sample: the sample.
        layer: M.
        parking: where the prefix lies while nobody asks; it is captured where it is not there.
            Without one it is captured at once, and stays where it is.
    """

    def __init__(
        self, loaded: Loaded, sample: Sample, layer: int, parking: Parking | None = None
    ) -> None:
        self.loaded, self.sample = loaded, sample
        self._layer, self._parking = layer, parking
        self._encoding: Record | None = None
        self._held = self._captured() if parking is None else None

    @property
    def id(self) -> str:
        """The sample's."""
        return self.sample.id

    @contextmanager
    def at_hand(self) -> Iterator[Held]:
        """Keep on the device what the sample needs, while the block runs."""
        if self._held is not None:
            yield self._held
            return
        self._held = self._fetched()
        try:
            yield self._held
        finally:
            self._held = None

    def _fetched(self) -> Held:
        assert self._parking is not None
        if self.id not in self._parking:
            held = self._captured()
            for text in TEXT_TOKENS:  # small, and asked for again and again
                held.probes[text] = _probe(held.prefix, text)
            self._parking.park(self.id, held)
            return held
        parked: Held = self._parking.fetch(self.id)
        return parked

    def _captured(self) -> Held:
        loaded, sample = self.loaded, self.sample
        samples = sample.read(max_seconds=loaded.frontend.max_seconds)
        audio = resample(samples, SAMPLE_RATE, loaded.frontend.sample_rate)
        inputs = loaded.frontend.inputs([audio], sample.prompt, sample.system, sample.answer)
        answer = len(loaded.frontend.answer_ids(sample.answer))
        inputs = loaded.place(inputs)
        with named(sample):
            prompt_length = inputs["input_ids"].shape[1] - answer
            prefix = capture(loaded.model, inputs, self._layer, prompt_length)
        return Held(settled(prefix))

    def encode(self) -> Record:
        """What is known of the sample before it is pruned, for :meth:`recall_encoding`."""
        with self.at_hand() as held:
            selectivities = {text: scoring.selectivity(self.probe(text)) for text in TEXT_TOKENS}
            return {
                "audio_tokens": len(held.prefix.audio),
                "selectivity": {text: found.tolist() for text, found in selectivities.items()},
            }

    def recall_encoding(self, record: Record) -> None:
        """Take what :meth:`encode` found, perhaps in another process."""
        self._encoding = record

    @property
    def _encoded(self) -> Record:
        if self._encoding is None:
            self._encoding = self.encode()
        return self._encoding

    @property
    def audio_tokens(self) -> int:
        """N_a."""
        count: int = self._encoded["audio_tokens"]
        return count

    def selectivity(self, text_tokens: str) -> torch.Tensor:
        """Selectivity [H] of the probe, float32."""
        return torch.tensor(self._encoded["selectivity"][text_tokens])

    def probe(self, text_tokens: str) -> torch.Tensor:
        """The probe [H, N_a] with the queries of some text tokens, see :mod:`.prefix`."""
        with self.at_hand() as held:
            if text_tokens not in held.probes:
                held.probes[text_tokens] = _probe(held.prefix, text_tokens)
            return held.probes[text_tokens]

    @property
    def states(self) -> torch.Tensor:
        """States [N_a, D] of the audio tokens on entry to the pruning layer, on the CPU."""
        with self.at_hand() as held:
            return held.prefix.hidden_states[held.prefix.audio].cpu()


def _probe(prefix: Prefix, text_tokens: str) -> torch.Tensor:
    view = prefix.seen_by(text_tokens)
    assert view.queries is not None
    assert view.keys is not None
    return scoring.probe(view.queries, view.keys, view.scale).cpu()


@contextmanager
def named(sample: Sample) -> Iterator[None]:
    """Say of which sample numbers are not finite."""
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(f"{sample.id}: {error}", weight=error.weight) from error
