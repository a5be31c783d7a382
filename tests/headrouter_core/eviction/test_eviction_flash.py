"""Eviction from a model that runs flash attention, with dense functions in the place of kernels."""

from __future__ import annotations

import pytest

from headrouter_core.eviction.methods import AdaKV

from ..checking.exactness import TOLERANCE, generated_error
from ..checking.flash import stand_in
from ..checking.matrix import inputs, tiny
from ..tiny.families import twin
from .hidden_heads import evicted_generation, hidden_generation


@pytest.mark.parametrize("name", ["qwen2_5_omni", "qwen2_audio", "voxtral"])
@pytest.mark.parametrize("form", ["one", "left", "text row"])
def test_flash(name: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    model, given = twin(tiny(name, "sdpa"), "flash_attention_2"), inputs(name, form)
    found, entries = evicted_generation(model, given, AdaKV(window=4), 0.4)
    assert any(len(head) < entry.length for entry in entries for head in entry.kept[0])
    wanted = hidden_generation(tiny(name, "eager"), given, entries)
    assert generated_error(found, wanted) < TOLERANCE
