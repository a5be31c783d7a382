"""Views at random, without a model."""

import torch

from headrouter_core.selectors.base import Need, View

from .bundles import HEADS

WIDTH = 12

#: The fields of a view that each need fills.
FIELDS = {
    Need.QUERIES_KEYS: ("queries", "keys"),
    Need.ROTATED_KEYS: ("rotated_keys",),
    Need.LAST_ATTENTION: ("last_attention",),
    Need.HIDDEN_STATES: ("hidden_states",),
}


def make_view(audios, *, texts=5, sample=0, seed=0, dtype=torch.float32, scale=None):
    """Return a view with everything in it."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    queries, keys = draw(HEADS, texts, 8), draw(2, audios, 8)
    rotated, attended, hidden = draw(2, audios, 8), draw(HEADS, audios), draw(audios, WIDTH)
    # as the engine has it: float32, and the rest of the row's attention is paid to text
    attention = attended.float().softmax(-1) / 2
    return View(
        audios, torch.device("cpu"), sample, queries, keys, scale, rotated, attention, hidden
    )
