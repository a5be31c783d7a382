"""Reading a prompt: where its audio, its text and its padding are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from headrouter_core.engine.prompt.budget import Budget
from headrouter_core.errors import UsageError

#: Text tokens that may be probed: all, those after the last audio token, or the last one.
TEXT_TOKENS = ("all", "after", "last")


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a prefill. Positions are columns of the unpruned sequence."""

    audio: torch.Tensor
    """LongTensor [N_a], ascending."""
    text: torch.Tensor
    """LongTensor [N_t]: the text tokens that are probed, see :data:`TEXT_TOKENS`."""
    prompt: torch.Tensor
    """LongTensor: all real tokens of the prompt."""
    real: int
    """Real tokens of this forward: those of the prompt and any that were drafted behind it."""
    kept: int
    """k; 0 without audio."""

    @property
    def pruned(self) -> int:
        """How many audio tokens have to go."""
        return self.audio.numel() - self.kept

    def on(self, device: torch.device) -> Row:
        """Return this row with its tensors on a device; the host does not wait for the copies."""
        return replace(
            self,
            audio=self.audio.to(device, non_blocking=True),
            text=self.text.to(device, non_blocking=True),
            prompt=self.prompt.to(device, non_blocking=True),
        )

    def keeping(self, kept: int) -> Row:
        """Return this row with another k."""
        return replace(self, kept=kept)


@dataclass(frozen=True)
class Reader:
    """How to tell audio from text, fixed for one pruning context."""

    audio_ids: tuple[int, ...]
    marker_ids: tuple[int, ...]
    text_tokens: str
    budget: Budget

    def __post_init__(self) -> None:
        if self.text_tokens not in TEXT_TOKENS:
            raise UsageError(
                f"the selector's text_tokens is {self.text_tokens!r}; it must be one of"
                f" {', '.join(TEXT_TOKENS)}"
            )

    def is_audio(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the BoolTensor of ``ids`` that stand for audio."""
        return _is_one_of(ids, self.audio_ids)

    def is_due(self, ids: torch.Tensor) -> bool:
        """Whether any row of ``ids`` [B, L] has audio tokens that have to go."""
        counts = self.is_audio(ids).sum(dim=1).tolist()
        rows = len(counts)
        return any(self.budget.kept(n, row, rows) < n for row, n in enumerate(counts))

    def row(
        self,
        ids: torch.Tensor,
        real: torch.Tensor,
        prompt_length: int,
        place: tuple[int, int] = (0, 1),
    ) -> Row:
        """Read one row; its tensors are on CPU.

        Args:
            ids: LongTensor [L] on CPU.
            real: BoolTensor [L] on CPU, False at padding.
            prompt_length: columns from here on hold no prompt: neither audio nor text tokens.
            place: which prompt of the forward it is, and of how many.

        Raises:
            PruningError: there is one ratio a row, but for another number of rows.
        """
        prompt = real.clone()
        prompt[prompt_length:] = False
        is_audio = prompt & self.is_audio(ids)
        audio = _columns(is_audio)
        is_text = prompt & ~is_audio & ~_is_one_of(ids, self.marker_ids)
        if self.text_tokens == "after" and audio.numel():
            is_text[: int(audio[-1])] = False
        text = _columns(is_text)
        return Row(
            audio=audio,
            text=text[-1:] if self.text_tokens == "last" else text,
            prompt=_columns(prompt),
            real=int(real.sum()),
            kept=self.budget.kept(audio.numel(), *place),
        )


def _is_one_of(ids: torch.Tensor, tokens: tuple[int, ...]) -> torch.Tensor:
    # for one or two tokens several times faster than torch.isin, and the device waits for it
    found = torch.zeros_like(ids, dtype=torch.bool)
    for token in tokens:
        found |= ids == token
    return found


def _columns(chosen: torch.Tensor) -> torch.Tensor:
    return chosen.nonzero()[:, 0]
