"""Which columns a mask shows: read whole, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from headrouter_core.engine.prompt.sight import shown_columns
from headrouter_core.errors import PruningError

TWO = torch.tensor([[0, 1, 1], [1, 1, 1]])
CAUSAL = torch.ones(3, 3, dtype=torch.bool).tril()
FOUR = (CAUSAL & TWO.bool()[:, None])[:, None]
NEAR = FOUR & ~torch.ones(3, 3, dtype=torch.bool).tril(-2)  # a window of 2


def read(
    mask: Any, first: int = 0, windows: tuple[int | None, ...] = (None,), *, flash: bool = False
) -> Any:
    return shown_columns(mask, 2, first, 3 - first, windows, flash=flash)


def test_what_is_shown_is_read_out_of_any_mask() -> None:
    added = torch.where(FOUR, 0.0, torch.finfo(torch.float32).min)
    wide = torch.nn.functional.pad(FOUR, (0, 4))  # a static cache's
    long = torch.nn.functional.pad(TWO, (0, 4))
    heads = FOUR.expand(-1, 4, -1, -1)
    half = torch.where(FOUR, 0.0, torch.finfo(torch.float16).min).half()
    for mask in (TWO, long, TWO.float(), FOUR, added, half, added.clamp(-1e9), wide, heads):
        assert torch.equal(read(mask), TWO.bool())
    for last in (FOUR[:, :, 2:], added[:, :, 2:], TWO):
        assert torch.equal(read(last, first=2), TWO.bool())
    for nothing in (None, {}, {"full_attention": None}):
        assert read(nothing) is None


def test_masks_by_type_of_layer() -> None:
    both = {"full_attention": FOUR, "sliding_attention": NEAR}
    assert torch.equal(read(both, windows=(None, 2)), TWO.bool())
    assert torch.equal(read({"sliding_attention": NEAR}, windows=(2,)), TWO.bool())
    assert torch.equal(read({**both, "sliding_attention": None}, windows=(None, 2)), TWO.bool())
    # the first column is beyond the last token's window: it is hidden there, whatever it is
    last = {kind: mask[:, :, 2:] for kind, mask in both.items()}
    assert torch.equal(read(last, first=2, windows=(None, 2)), TWO.bool())


OTHER_HEAD = FOUR.repeat(1, 2, 1, 1)
OTHER_HEAD[:, 1, 2, 1] = False
#: A bias that makes a column less likely, and one that does so to all.
ADDED = torch.where(FOUR, 0.0, -torch.inf)
LESS = ADDED.index_fill(3, torch.tensor([1]), -1.0)
HOLE = FOUR.clone()
HOLE[:, :, 2, 1] = False


@pytest.mark.parametrize(
    ("mask", "windows", "match"),
    [
        (OTHER_HEAD, (None,), "more than causal order"),
        (HOLE, (None,), "more than causal order"),
        (LESS, (None,), "adds to scores"),
        (ADDED - 1, (None,), "adds to scores"),
        (ADDED + torch.nan, (None,), "adds to scores"),
        ({"full_attention": LESS}, (None,), "adds to scores"),
        (torch.ones(2, 1, 3, 3, dtype=torch.bool), (None,), "more than causal order"),
        (NEAR, (None,), "more than causal order"),
        (FOUR, (None, 2), "more than causal order"),  # windows that the mask has not
        ({"full_attention": FOUR, "sliding_attention": FOUR}, (None, 2), "more than causal order"),
        (
            {"full_attention": FOUR, "sliding_attention": NEAR & TWO.flip(1).bool()[:, None, None]},
            (None, 2),
            "more than causal order",
        ),
        ({"chunked_attention": FOUR}, (None,), "chunked_attention"),
        (TWO[:, :2], (None,), r"\[2, 2\] for 2 rows of 3 columns"),
        (TWO[:1], (None,), r"\[1, 3\] for 2 rows"),
        (FOUR[..., :2], (None,), r"\[2, 1, 3, 2\] for 2 rows"),
        (FOUR[:, 0], (None,), r"is \[2, 3, 3\]"),
        (object(), (None,), "is object"),
    ],
)
def test_masks_that_cannot_be_carried_over(mask: Any, windows: Any, match: str) -> None:
    with pytest.raises(PruningError, match=match):
        read(mask, windows=windows)


def test_flash_kernels_read_long_masks_from_the_right() -> None:
    assert torch.equal(read(torch.ones(2, 5), flash=True), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(PruningError, match="5 columns for 3 tokens"):
        read(torch.nn.functional.pad(TWO, (0, 2)), flash=True)
