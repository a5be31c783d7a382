"""The loss of a pruned forward, by labels of the unpruned one.

A model pairs labels with logits by column, and pruned logits have fewer columns. So it is not shown
the labels, and the loss is made of what is left: of each label, its prediction is the logits of the
token before.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from headrouter_core.engine.shortening.layout import Compaction
from headrouter_core.errors import PruningError
from headrouter_core.families.calls import forward_of

#: Labels that are none, as transformers has it.
IGNORED = -100


def with_loss(root: nn.Module, call: Mapping[str, Any], compaction: Compaction, output: Any) -> Any:
    """Return the output of a pruned forward with its loss.

    Args:
        root: the model, whose ``loss_function`` is used.
        call: the arguments that the model was called with, labels [B, L] among them.
        compaction: how the prompt was pruned.
        output: what the model returned without labels.

    Raises:
        PruningError: logits were left out, or a label is predicted by a token that was dropped.
    """
    named = not isinstance(output, tuple)
    logits: torch.Tensor = output.logits if named else output[0]
    kept = compaction.order.shape[1]
    if logits.shape[1] != kept:
        raise PruningError(
            f"the loss needs the logits of all {kept} tokens that are left, and there are"
            f" {logits.shape[1]}; pass labels without logits_to_keep"
        )
    labels = predicted(call["labels"], compaction)
    # a property of transformers' models, in the way that each of them sets
    loss = root.loss_function(  # type: ignore[operator]
        logits=logits,
        labels=None,
        vocab_size=logits.shape[-1],
        shift_labels=labels.to(logits.device),
        num_items_in_batch=call.get("num_items_in_batch")
        if _counts_items(forward_of(root))
        else None,
    )
    return type(output)(loss=loss, **output) if named else (loss, *output)


@functools.cache
def _counts_items(forward: Callable[..., Any]) -> bool:
    """Whether a model's loss is over ``num_items_in_batch``: some make a mean whatever it is.

    They are told apart by what they call with it, if anything, which differs between versions.
    """
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(forward)))
    return any(
        keyword.arg in (None, "num_items_in_batch")
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and getattr(call.func, "attr", None) == "loss_function"
        for keyword in call.keywords
    )


def predicted(labels: torch.Tensor, compaction: Compaction) -> torch.Tensor:
    """Return what each column of the pruned prompt predicts [B, P]: the label behind it.

    Args:
        labels: LongTensor [B, L], -100 where there is none.
        compaction: how the prompt was pruned.

    Raises:
        PruningError: labels of another shape, or behind a dropped token or padding.
    """
    order, filled = compaction.order, compaction.filled
    shape = len(order), compaction.length
    if labels.shape != shape:
        raise PruningError(f"labels are {list(labels.shape)}; they must be {list(shape)}")
    following = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
    left = following.gather(1, order.to(labels.device))
    if filled is not None:
        left = left.masked_fill(~filled.to(labels.device), IGNORED)
    lost = int((following != IGNORED).sum() - (left != IGNORED).sum())
    if lost:
        raise PruningError(
            f"{lost} labels are predicted by audio tokens that were dropped, or by padding; set"
            f" labels that follow audio or padding to {IGNORED}"
        )
    return left
