"""One item put to a model: encoded once, then pruned in many ways and asked to answer.

Encoder and layers 0..M-1 run once. For each set of choices that keep equally many tokens, layers
from M on run once, and one batched ``generate`` gives both the greedy answers and, in rows whose
tokens are forced, the logits of given texts.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import time
from collections.abc import Sequence

import numpy as np
import torch

from calibrate.estimation.replay.layers import replay_cache
from calibrate.estimation.replay.prefix import capture
from calibrate.evaluation.asking.forcing import say
from calibrate.evaluation.asking.methods import Method
from calibrate.evaluation.asking.replies import Batch, Heard, Reply
from calibrate.evaluation.scoring.items import Item
from calibrate.models.asking import wait_for
from calibrate.models.named import Loaded
from calibrate.models.selecting import build_selector
from calibrate.sound.reading import SAMPLE_RATE, resample
from headrouter_core import Frame, prune, scoring
from headrouter_core.engine.choice.choosing import choose
from headrouter_core.profile.profile import Profile
from headrouter_core.selectors import Need, Selection, Selector

#: Tokens that one batch may hold, by kind of device.
_BATCH_TOKENS = {"cpu": 32_768, "cuda": 131_072}


def recordings(loaded: Loaded, item: Item) -> list[np.ndarray]:
    """Return an item's recordings, float32 [n] each, at the rate that the model takes.

    Raises:
        AudioError: one of them cannot be read.
    """
    rate, longest = loaded.frontend.sample_rate, loaded.frontend.max_seconds
    return [resample(audio, SAMPLE_RATE, rate) for audio in item.read(longest)]


class Trial:
    """One item, ready to be pruned in any way."""

    def __init__(
        self,
        loaded: Loaded,
        item: Item,
        layer: int,
        methods: Sequence[Method],
        audios: Sequence[np.ndarray] | None = None,
    ) -> None:
        """Read the recordings, make the inputs and run the whole model once.

        Args:
            loaded: the model.
            item: what is asked.
            layer: M.
            methods: whose needs are read.
            audios: what is heard in place of the item's recordings, float32 [n] each.

        Raises:
            AudioError: a recording cannot be read, or is longer than the model takes.
            NonFiniteError: the model's logits are NaN or infinite.
        """
        self.item = item
        self._loaded = loaded
        self.audios = recordings(loaded, item) if audios is None else list(audios)
        """As the model was given them."""
        inputs = loaded.place(loaded.frontend.inputs(self.audios, item.prompt, item.system))
        # queries and keys in any case: selectivity is recorded whatever is compared
        needs = functools.reduce(operator.or_, (m.kind.needs for m in methods), Need.QUERIES_KEYS)
        start = self._now()
        with torch.inference_mode():
            self._prefix = capture(loaded.model, inputs, layer, needs=needs, cached=True)
        self.seconds = self._now() - start
        """Of the whole unpruned prefill."""

    @property
    def audio_tokens(self) -> int:
        """N_a."""
        return len(self._prefix.audio)

    def shortened(self, method: Method, ratio: float) -> list[np.ndarray]:
        """Return what a method that shortens recordings leaves of them, float32 [n] each."""
        assert method.shortening is not None
        count = scoring.keep_count(self.audio_tokens, ratio)
        return method.shortening(self.audios, self._loaded.frontend, count)

    def hearing(self, audios: Sequence[np.ndarray]) -> Trial:
        """Return the same item with other recordings in place of its own."""
        return Trial(self._loaded, self.item, self._prefix.layer, (), audios)

    @torch.inference_mode()
    def selectivity(self, text_tokens: str) -> torch.Tensor:
        """Return how selective each head of the probe layer is [H], see :mod:`scoring`."""
        view = self._prefix.seen_by(text_tokens)
        assert view.queries is not None
        assert view.keys is not None
        return scoring.selectivity(scoring.probe(view.queries, view.keys, view.scale))

    @torch.inference_mode()
    def select(
        self,
        method: Method,
        ratio: float,
        profile: Profile | None,
        seed: int,
        whole: int | None = None,
    ) -> Selection:
        """Return what a method keeps of what is heard.

        Args:
            method: the method.
            ratio: of the audio tokens to remove.
            profile: for methods that take one.
            seed: of methods that draw at random.
            whole: the audio tokens that the ratio is of, where the recording was longer.

        Raises:
            PruningError: it reads text behind the audio, and the prompt has none.
            SelectionError: it broke its contract.
        """
        if not method.prunes:
            return self.everything()
        selector = self.selector(method, profile, seed)
        # by name and not by place, so that it is the same in any part of the set
        digest = hashlib.sha256(self.item.id.encode()).digest()
        view = self._prefix.seen_by(selector.text_tokens, int.from_bytes(digest[:4], "little"))
        count = scoring.keep_count(self.audio_tokens if whole is None else whole, ratio)
        row = self._prefix.row.keeping(min(count, self.audio_tokens))
        return choose(selector, row, view, self._prefix.hidden_states.shape[-1])

    def selector(self, method: Method, profile: Profile | None, seed: int) -> Selector:
        """Build a method's selector for this item."""
        return build_selector(
            method.kind,
            profile=profile,
            seed=seed,
            audios=self.audios,
            frontend=self._loaded.frontend,
            **method.options,
        )

    def encode(self, text: str) -> torch.Tensor:
        """Return the tokens [n] of a whole answer, its end of turn included."""
        return torch.tensor(self._loaded.frontend.answer_ids(text))

    def everything(self) -> Selection:
        """Return the choice that keeps every token: vanilla."""
        device = self._prefix.hidden_states.device
        return Selection(torch.arange(self.audio_tokens, device=device))

    @torch.inference_mode()
    def ask(
        self,
        selections: Sequence[Selection],
        texts: Sequence[torch.Tensor],
        *,
        echo: bool = False,
    ) -> list[Reply]:
        """Return the reply to each of some selections that keep equally many tokens.

        Args:
            selections: with replacement states or without.
            texts: LongTensor [n] each, with the end of turn: texts to compute the logits of.
            echo: put those of each reply's own answer behind them.
        """
        length = len(self._prefix.input_ids) - self.audio_tokens + len(selections[0].kept)
        rows = 1 + len(texts)
        budget = _BATCH_TOKENS.get(self._loaded.device.type, 32_768)
        step = max(1, budget // (length * rows))
        replies = []
        for start in range(0, len(selections), step):
            replies += self._ask(selections[start : start + step], texts, echo)
        return replies

    def _ask(
        self, selections: Sequence[Selection], texts: Sequence[torch.Tensor], echo: bool
    ) -> list[Reply]:
        model, prefix = self._loaded.model, self._prefix
        begun = self._now()
        kept = torch.stack([selection.kept for selection in selections])
        cache = replay_cache(model, prefix, kept, self._states(selections))
        replayed = self._now()
        each = 1 + len(texts)
        cache.batch_repeat_interleave(each)
        ids = prefix.input_ids.to(model.device).expand(len(selections) * each, -1)
        limit = max([self.item.max_new_tokens, *map(len, texts)])
        # the ratio is for audio in what is new, and there is none
        with prune(model, Frame(), 0.5, prefix.layer):
            output = say(model, ids, cache, texts, limit)
        new = output.sequences[:, ids.shape[1] :].cpu()
        taken = Batch(
            (replayed - begun) / len(selections), (self._now() - replayed) / len(selections)
        )
        seconds = sum(map(len, self.audios)) / self._loaded.frontend.sample_rate
        heard = Heard(seconds, self.audio_tokens, kept.shape[1])
        replies = []
        for first in range(0, len(new), each):
            steps = [step[first : first + each] for step in output.logits]
            replies.append(self._reply(new[first], steps, texts, echo, heard, taken))
        return replies

    def _reply(
        self,
        new: torch.Tensor,
        steps: Sequence[torch.Tensor],
        texts: Sequence[torch.Tensor],
        echo: bool,
        heard: Heard,
        taken: Batch,
    ) -> Reply:
        """Read one choice's answer [n] and, of each step, its rows of logits [1 + texts, vocab]."""
        new = new[: self.item.max_new_tokens]
        ends = torch.tensor(self._loaded.model.generation_config.eos_token_id)
        ended = torch.isin(new, ends).nonzero()[:1, 0].tolist()
        said = new[: ended[0] + 1] if ended else new
        rows = [*enumerate(texts, 1), *([(0, said)] if echo else [])]
        logits = tuple(
            torch.stack([step[number] for step in steps[: len(text)]]).float().cpu()
            for number, text in rows
        )
        return Reply(self._loaded.frontend.decode(said), bool(ended), said, logits, heard, taken)

    def states(self, selection: Selection) -> torch.Tensor:
        """Return the states [k, D] of the kept tokens on entry to the pruning layer."""
        if selection.states is not None:
            return selection.states
        return self._prefix.hidden_states[self._prefix.audio][selection.kept]

    def _states(self, selections: Sequence[Selection]) -> torch.Tensor | None:
        """Return what replaces the kept tokens' states [V, k, D]; ``None`` if none merges."""
        if all(selection.states is None for selection in selections):
            return None
        return torch.stack([self.states(selection) for selection in selections])

    def _now(self) -> float:
        """Return the time, once the device has done what it was given."""
        wait_for(self._loaded.device)
        return time.perf_counter()
