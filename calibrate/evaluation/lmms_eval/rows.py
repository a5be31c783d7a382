"""One selector for a batch whose rows each need their own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from headrouter_core.profile.profile import Profile
from headrouter_core.selectors import Need, Selection, Selector, View


@dataclass(frozen=True)
class RowByRow:
    """Selectors of one kind, one a row: what a row keeps does not depend on its company.

    Args:
        selectors: one a row of the batch, in order.
        samples: one a row; takes the place of the row's number, which seeds random draws.
    """

    selectors: tuple[Selector, ...]
    samples: tuple[int, ...]

    @property
    def name(self) -> str:
        """The kind's."""
        return self.selectors[0].name

    @property
    def needs(self) -> Need:
        """The kind's."""
        return self.selectors[0].needs

    @property
    def text_tokens(self) -> str:
        """The kind's."""
        return self.selectors[0].text_tokens

    @property
    def profile(self) -> Profile | None:
        """What the selectors were built from; the engine holds it against the model."""
        return getattr(self.selectors[0], "profile", None)

    def __call__(self, view: View, k: int) -> Selection:
        """Let the row's own selector choose."""
        row = view.sample % len(self.selectors)
        return self.selectors[row](dataclasses.replace(view, sample=self.samples[row]), k)
