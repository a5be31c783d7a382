"""Affinity merge: neighbours that resemble each other become one token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from headrouter_core import scoring
from headrouter_core.basics.precision import accumulating
from headrouter_core.errors import UsageError
from headrouter_core.selectors import runs
from headrouter_core.selectors.base import Merge, Need, Selection, View, choosing


@dataclass(frozen=True)
class AffinityMerge:
    """Merge the most similar neighbours until k runs of audio tokens are left.

    Similarity is the cosine of the states of two neighbouring tokens on entry to layer M. The most
    similar neighbours are joined, pair after pair, however long a run grows. It is kept as its
    middle token, whose state becomes the run's mean. Cutting between the k - 1 least similar
    neighbours gives the same runs at once.

    Source: the merging that A-ToMe (arXiv 2306.16009), FastAdaSP (EMNLP 2024 industry track) and
    SA-MAP (preprints.org 202606.0741) have in common; none of them is reproduced whole. What
    differs or is open:

    - *Place*: A-ToMe merges pairs in several layers of the encoder, SA-MAP once, behind the
      projector. Here once, before layer M.
    - *Similarity*: A-ToMe compares keys, SA-MAP a token's embedding with all of the run before it.
      Here states, neighbour with neighbour, as SA-MAP's authors run FastAdaSP.
    - *Budget*: the thresholds of A-ToMe and SA-MAP do not meet one. Here, as with A-ToMe's fixed
      ratio, it goes by rank; ties are cut at the lower index.
    - *Weights*: a plain mean. SA-MAP weighs by the encoder's attention, which is not seen here, and
      prunes for diversity afterwards, which is another method.
    - *Position*: SA-MAP numbers positions anew. Here a run has its middle token's (of two, the
      earlier one's), as kept tokens keep their positions.
    - *Several audios*: neighbours across the border of two audios may merge, as a selector does not
      see where it is.
    """

    name: ClassVar[str] = "affinity_merge"
    needs: ClassVar[Need] = Need.HIDDEN_STATES
    text_tokens: ClassVar[str] = "all"

    @choosing
    def __call__(self, view: View, k: int) -> Selection:
        """Choose ``k`` of the row's audio tokens and the states [k, D], float32, that they get.

        Raises:
            UsageError: the view lacks hidden states, or ``k`` is out of range.
        """
        states = view.hidden_states
        if states is None:
            raise UsageError("the view holds no hidden states; affinity_merge needs them")
        states = states.to(accumulating(states.dtype))
        unit = torch.nn.functional.normalize(states, dim=1)
        similarity = torch.linalg.vecdot(unit[1:], unit[:-1])
        # the first token begins a run whatever it is like
        novelty = torch.nn.functional.pad(-similarity, (1, 0), value=torch.inf)
        starts = scoring.top_k(novelty, k)
        ends = torch.nn.functional.pad(starts[1:], (0, 1), value=view.audio_tokens)
        middle = (starts + ends - 1) // 2
        into = runs.numbers(starts, view.audio_tokens)
        shares = 1 / (ends - starts).to(states.dtype)[into]
        return Selection(middle, states=runs.means(states, starts), merge=Merge(into, shares))
