"""The columns of the sequence that layers behind the pruning layer hold.

Layers below M keep every token, layers from M on only the kept ones, left-padded to one length in
each forward that dropped some. Everything that transformers counts (positions, lengths, its own
masks) follows the former, so what is in the latter has to be remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn.functional import pad

from headrouter_core.errors import PruningError


@dataclass(frozen=True, eq=False)
class Columns:
    """What became of B rows' columns; a step makes a new one, so one that fails changes nothing."""

    layer: int
    """M."""
    removed: int
    """How many columns shorter this sequence is than the unpruned one."""
    origin: torch.Tensor
    """LongTensor [B, n]: the unpruned column of each column; from n on, ``removed`` further."""
    length: int
    """Columns so far, n or more."""
    filled: torch.Tensor | None = None
    """BoolTensor [B, m], m <= length: False at the padding of rows that kept fewer tokens; True
    from m on. ``None``: no padding at all."""
    gone: torch.Tensor | None = None
    """BoolTensor [B, w], w <= whole: unpruned columns that were left out because they were hidden;
    False from w on. ``None``: none were."""
    hidden: torch.Tensor | None = None
    """BoolTensor [B, w], w <= whole: unpruned columns that are here and that the last mask hid;
    False from w on. ``None``: it hid none."""

    @classmethod
    def untouched(cls, layer: int, rows: int, length: int, device: torch.device) -> Columns:
        """Return those of a sequence of which nothing was removed."""
        origin = torch.arange(length, device=device).expand(rows, -1)
        return cls(layer, 0, origin, length)

    @property
    def whole(self) -> int:
        """Columns of the unpruned sequence so far."""
        return self.length + self.removed

    def seen(self, shown: torch.Tensor | None) -> Columns:
        """Return the same under another mask.

        Args:
            shown: BoolTensor [B, whole], True where tokens to come may look; ``None``: everywhere.

        Raises:
            PruningError: it shows columns that were hidden when the prompt was pruned, and so are
                not there any more.
        """
        if self.gone is None:
            hides = shown is not None and not bool(shown.all())
            return replace(self, hidden=~self._here(shown) if shown is not None and hides else None)
        gone = self._wide(self.gone)
        shown = torch.ones_like(gone) if shown is None else self._here(shown)
        hidden = ~(shown | gone)
        # asked together: each question waits for the device
        missing, hides = torch.stack([(shown & gone).any(), hidden.any()]).tolist()
        if missing:
            raise PruningError(
                "the attention mask shows tokens that an earlier one hid while the prompt was "
                "pruned: they were left out as padding; pass a mask that goes on hiding them, or "
                "start with a new cache"
            )
        return replace(self, hidden=hidden if hides else None)

    def grown(self, count: int) -> Columns:
        """Return these with ``count`` columns more, of which none is removed."""
        return replace(self, length=self.length + count)

    def joined(
        self, order: torch.Tensor, filled: torch.Tensor | None, real: torch.Tensor
    ) -> Columns:
        """Return these with a forward's columns behind them, of which some were left out.

        Args:
            order: LongTensor [B, P]: which of the forward's L columns are left.
            filled: BoolTensor [B, P], False at padding; ``None``: there is none.
            real: BoolTensor [B, L], True at columns that were not hidden.
        """
        kept, length, gone = order.shape[1], real.shape[1], self.gone
        origin = self.whole + order
        if filled is not None:
            # padding counts as the first of these columns: cropped with all of them, or not at all
            origin = origin.where(filled, self.whole)
            filled = torch.cat([self.padding(), filled], dim=1)
        if not bool(real.all()):
            before = origin.new_zeros(len(origin), 0, dtype=torch.bool) if gone is None else gone
            gone = torch.cat([self._wide(before), self._here(~real)], dim=1)
        return replace(
            self,
            removed=self.removed + length - kept,
            origin=torch.cat([self.positions(self.length), origin], dim=1),
            length=self.length + kept,
            filled=self.filled if filled is None else filled,
            gone=gone,
        )

    def padding(self) -> torch.Tensor:
        """Return the BoolTensor [B, length], False at the padding of rows that kept fewer."""
        known = self.filled
        if known is None:
            known = self.origin.new_ones(len(self.origin), 0, dtype=torch.bool)
        return pad(known, (0, self.length - known.shape[1]), value=True)

    def visible(self) -> torch.Tensor | None:
        """Return the BoolTensor [B, length] of columns to look at; ``None``: all of them."""
        if self.hidden is None:
            return None if self.filled is None else self.padding()
        return self.padding() & ~self._wide(self.hidden).gather(1, self.positions(self.length))

    def positions(self, length: int) -> torch.Tensor:
        """Return the unpruned columns [B, length] of the first ``length`` columns."""
        known = self.origin.shape[1]
        tail = torch.arange(known, max(length, known), device=self.origin.device) + self.removed
        return torch.cat([self.origin, tail.expand(len(self.origin), -1)], dim=1)[:, :length]

    def select(self, rows: torch.Tensor) -> Columns:
        """Return these with rows kept, reordered or repeated."""
        rows = rows.to(self.origin.device)
        return replace(
            self,
            origin=self.origin[rows],
            filled=None if self.filled is None else self.filled[rows],
            gone=None if self.gone is None else self.gone[rows],
            hidden=None if self.hidden is None else self.hidden[rows],
        )

    def cropped(self, count: int) -> Columns:
        """Return these without the last ``count`` columns of the unpruned sequence.

        Raises:
            PruningError: there are not so many, or rows would lose different numbers of columns.
        """
        whole = self.whole - count
        length = whole - self.removed
        if length < self.origin.shape[1]:
            left = self.origin < whole
            length = int(left[0].sum())
            first = torch.arange(left.shape[1], device=left.device) < length
            if whole < 0 or not bool((left == first).all()):
                raise PruningError(
                    f"cropping {count} tokens would leave rows of different lengths, or nothing: "
                    "it reaches into the pruned part of a prompt; crop less, or start again with a "
                    "new cache"
                )
        return replace(
            self,
            removed=whole - length,
            origin=self.origin[:, :length],
            length=length,
            filled=None if self.filled is None else self.filled[:, :length],
            gone=None if self.gone is None else self.gone[:, :whole],
            hidden=None if self.hidden is None else self.hidden[:, :whole],
        )

    def _here(self, part: torch.Tensor) -> torch.Tensor:
        return part.to(self.origin.device, non_blocking=True)

    def _wide(self, part: torch.Tensor) -> torch.Tensor:
        return pad(part, (0, self.whole - part.shape[1]), value=False)
