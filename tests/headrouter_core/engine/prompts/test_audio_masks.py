"""Prompts of embeddings alone: what their mask calls audio is pruned as by input ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from headrouter_core import families
from headrouter_core.errors import UsageError
from headrouter_core.families.base import Anatomy
from headrouter_core.pruning.context import prune
from headrouter_core.pruning.inputs import prune_inputs

from ...checking.guarded import ONE, THREE
from ...checking.masked import error
from ...checking.probes import Affinity, Scattered
from ...tiny import families as tiny_families
from ...tiny.models import AUDIO, batch

GREEDY = {"max_new_tokens": 4, "do_sample": False}


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_families.build("voxtral")


@pytest.fixture(autouse=True)
def _markers_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask does not tell begin and end of audio from text, so let ids not do so either."""
    real = families.locate

    def locate(model: Any) -> Anatomy:
        return replace(real(model), marker_ids=())

    monkeypatch.setattr(families, "locate", locate)


def both(model: Any, rows: list[list[int]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return inputs by ids, and by embeddings and a mask."""
    made = batch(rows)
    ids, mask = made["input_ids"], made["attention_mask"]
    embeds = model.get_input_embeddings()(ids).detach()
    by_ids = {"input_ids": ids, "inputs_embeds": embeds, "attention_mask": mask}
    return by_ids, {
        "inputs_embeds": embeds,
        "attention_mask": mask,
        "audio_mask": (ids == AUDIO) & mask.bool(),
    }


@pytest.mark.parametrize("rows", [ONE, THREE])
@pytest.mark.parametrize("ratio", [0, 0.6])
@torch.no_grad()
def test_a_forward(model: Any, rows: list[list[int]], ratio: float) -> None:
    by_ids, by_mask = both(model, rows)
    del by_ids["inputs_embeds"]
    with prune(model, Affinity(), ratio) as trace:
        wanted = model(**by_ids)
        step = {"input_ids": torch.full((len(rows), 1), 5)}
        mask = torch.nn.functional.pad(by_ids["attention_mask"], (0, 1), value=1)
        after = model(**step, attention_mask=mask, past_key_values=wanted.past_key_values)
    with prune(model, Affinity(), ratio) as masked_trace:
        found = model(**by_mask)
        behind = model(**step, attention_mask=mask, past_key_values=found.past_key_values)
    assert error(found.logits, wanted.logits) < 1e-5
    assert error(behind.logits, after.logits) < 1e-5
    for here, there in zip(masked_trace, trace, strict=True):
        assert torch.equal(here.kept, there.kept)
        assert (here.audio_tokens, here.prompt_length) == (there.audio_tokens, there.prompt_length)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2, "num_return_sequences": 2}])
def test_generate(model: Any, options: dict[str, Any]) -> None:
    by_ids, by_mask = both(model, THREE)
    length = by_ids["input_ids"].shape[1]
    with prune(model, Affinity(), 0.6) as trace:
        wanted = model.generate(
            by_ids["input_ids"], attention_mask=by_ids["attention_mask"], **GREEDY, **options
        )
    with prune(model, Affinity(), 0.6) as masked_trace:
        found = model.generate(**by_mask, **GREEDY, **options)
    assert torch.equal(found, wanted[:, length:])
    assert [len(entry.kept) for entry in masked_trace] == [len(entry.kept) for entry in trace]


def test_prune_inputs(model: Any) -> None:
    by_ids, by_mask = both(model, THREE)
    wanted = prune_inputs(model, by_ids, Affinity(), 0.6)
    found = prune_inputs(model, by_mask, Affinity(), 0.6)
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor)


def test_masks_that_are_none(model: Any) -> None:
    by_ids, by_mask = both(model, ONE)
    mask = by_mask["audio_mask"]
    for inputs, found in (
        ({**by_mask, "audio_mask": mask.long()}, r"audio_mask is torch.int64; .* \[1, 37\]"),
        ({**by_mask, "audio_mask": mask.tolist()}, "audio_mask is list"),
        ({**by_mask, "audio_mask": mask[:, 1:]}, r"audio_mask is \[1, 36\]; it must be \[1, 37\]"),
        ({**by_ids, "audio_mask": mask}, "without input_ids"),
        ({"input_ids": by_ids["input_ids"], "audio_mask": mask}, "pass it with them"),
    ):
        with pytest.raises(UsageError, match=found), prune(model, Scattered(), 0.6):
            model(**inputs)
        with pytest.raises(UsageError, match=found), prune(model, Scattered(), 0.6):
            model.generate(**inputs, **GREEDY)
        with pytest.raises(UsageError, match=found):
            prune_inputs(model, inputs, Scattered(), 0.6)
