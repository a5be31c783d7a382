"""Flash attention: gaps in the positions of kept tokens never reach the kernels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from headrouter_core.errors import PruningError
from headrouter_core.pruning.context import prune

from ...checking.exactness import (
    TOLERANCE,
    dropped_from,
    kept_by_scattered,
    pruned_logits,
    shown_logits,
)
from ...checking.flash import missing_kernels, stand_in, watch_packing
from ...checking.ledger import Ledger
from ...checking.masked import error
from ...checking.matrix import FAMILIES, FORMS, PARTICULAR, inputs, step_of, tiny, wanted_logits
from ...checking.probes import Scattered
from ...tiny.families import attend, twin
from ...tiny.models import batch, thinker

FLASH = "flash_attention_2"


@pytest.mark.parametrize("form", ["one", "several", "left", "text row"])
@pytest.mark.parametrize("name", FAMILIES)
def test_flash_with_its_kernels_replaced(
    name: str, form: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    packed = watch_packing(monkeypatch)
    model, given = twin(tiny(name, "eager"), FLASH), inputs(name, form)
    if name in PARTICULAR["windows"]:
        reason = "flash attention measures its sliding window of 9 in kept tokens"
        with pytest.raises(PruningError, match=reason) as refusal, prune(model, Scattered(), 0.6):
            model(**given)
        ledger.note(name, "flash", f"refused: {refusal.value}")
        return
    found, _ = pruned_logits(model, given, Scattered(), 0.6, 3, step_of(name))
    worst = found.error(wanted_logits(name, form, 0.6, 3))
    assert worst < TOLERANCE
    assert not any(packed)
    # six layers; a prompt without padding, one token, one, three: where there is no mask. Older
    # versions ask where there is one too
    assert len(packed) == 24 or len(given["input_ids"]) > 1
    ledger.note(name, "flash", worst)


@torch.no_grad()
def test_gaps_are_taken_for_packed_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an engine that keeps them back; so the watch above sees what it watches for."""
    stand_in(monkeypatch)
    packed = watch_packing(monkeypatch)
    model, given = twin(tiny("qwen2_audio", "eager"), FLASH), inputs("qwen2_audio", "one")
    columns = torch.arange(given["input_ids"].shape[1])[None]
    model(input_ids=given["input_ids"], position_ids=columns + 5 * (columns > 9))
    assert packed == [True] * 6


def test_what_keeps_kernels_from_loading_is_said() -> None:
    reason = missing_kernels("flash_attention_none")
    assert reason is not None
    assert "Error: " in reason


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("form", ["one", "several", "left", "text row"])
@pytest.mark.parametrize("flash", [FLASH, "flash_attention_3"])
@torch.no_grad()
def test_flash_against_sdpa_on_a_gpu(
    flash: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16: kernels take nothing wider. Tokens are given, as ties may fall either way."""
    if reason := missing_kernels(flash):
        pytest.skip(reason)
    packed = watch_packing(monkeypatch)
    given = {key: value.cuda() for key, value in batch(*FORMS[form]).items()}
    given["input_features"] = given["input_features"].bfloat16()

    def run(model: nn.Module) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        tokens = torch.randint(2, 80, (len(given["input_ids"]), 4), generator=generator).cuda()
        mask, logits = given["attention_mask"], []
        with prune(model, Scattered(), 0.6, 3):
            output = model(**given, use_cache=True)
            for chunk in tokens.split([1, 3], dim=1):
                mask = torch.cat([mask, torch.ones_like(chunk)], 1)
                step = step_of("qwen2_5_omni")(chunk, mask)
                logits.append(model(**step, past_key_values=output.past_key_values).logits)
        left = {key: value.cpu() for key, value in given.items()}
        dropped = dropped_from(left, kept_by_scattered(left, 0.6))
        shown = left["attention_mask"].bool() & ~dropped
        return [shown_logits(output.logits.cpu(), shown), *(part.cpu() for part in logits)]

    wanted = run(thinker("sdpa").to("cuda", torch.bfloat16))
    found = run(attend(thinker("sdpa").to("cuda", torch.bfloat16), flash))
    assert not any(packed)
    for there, sdpa in zip(found, wanted, strict=True):
        assert error(there.float(), sdpa.float()) < 0.05
