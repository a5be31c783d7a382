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
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor

from calibrate.asking import wait_for
from calibrate.evaluation.items import Item
from calibrate.evaluation.methods import Method
from calibrate.models import Loaded
from calibrate.selecting import build_selector
from headrouter_core import Frame, prune, scoring
from headrouter_core.prefix import capture
from headrouter_core.profile import Profile
from headrouter_core.replay import replay_cache
from headrouter_core.selectors import Need, Selection

#: Tokens that one batch may hold, by kind of device.
_BATCH_TOKENS = {"cpu": 32_768, "cuda": 131_072}


@dataclass(frozen=True, eq=False)
class Reply:
    """What the model says with one choice of tokens."""

    text: str
    complete: bool
    """Whether the answer ended by itself, not at the limit of new tokens."""
    ids: torch.Tensor
    """LongTensor [n]: the answer's tokens, its end included."""
    logits: tuple[torch.Tensor, ...]
    """Of each given text, float32 [n, vocabulary]: what predicts its n tokens."""
    replay_seconds: float
    """Layers from M on over the prompt: the time of its batch, divided by the choices in it."""
    decode_seconds: float
    """All that came after the prompt, divided alike."""


class Trial:
    """One item, ready to be pruned in any way."""

    def __init__(self, loaded: Loaded, item: Item, layer: int, methods: Sequence[Method]) -> None:
        """Read the recordings, make the inputs and run the whole model once.

        Raises:
            AudioError: a recording cannot be read, or is longer than the model takes.
        """
        self.item = item
        self._loaded = loaded
        self._audios = item.read()
        inputs = loaded.place(loaded.frontend.inputs(self._audios, item.prompt, item.system))
        needs = functools.reduce(operator.or_, (m.kind.needs for m in methods), Need.NOTHING)
        start = self._now()
        with torch.inference_mode():
            self._prefix = capture(loaded.model, inputs, layer, needs=needs, cached=True)
        self.seconds = self._now() - start
        """Of the whole unpruned prefill."""

    @property
    def audio_tokens(self) -> int:
        """N_a."""
        return len(self._prefix.audio)

    @torch.inference_mode()
    def select(self, method: Method, ratio: float, profile: Profile | None, seed: int) -> Selection:
        """Return what a method keeps."""
        selector = build_selector(
            method.kind,
            profile=profile,
            seed=seed,
            audios=self._audios,
            frontend=self._loaded.frontend,
            **method.options,
        )
        # by name and not by place, so that it is the same in any part of the set
        digest = hashlib.sha256(self.item.id.encode()).digest()
        view = self._prefix.seen_by(selector.text_tokens, int.from_bytes(digest[:4], "little"))
        return selector(view, scoring.keep_count(self.audio_tokens, ratio))

    def encode(self, text: str) -> torch.Tensor:
        """Return the tokens [n] of a whole answer, its end of turn included."""
        return torch.tensor(self._loaded.frontend.answer_ids(text))

    def everything(self) -> Selection:
        """Return the choice that keeps every token: vanilla."""
        device = self._prefix.hidden_states.device
        return Selection(torch.arange(self.audio_tokens, device=device))

    @torch.inference_mode()
    def ask(self, selections: Sequence[Selection], texts: Sequence[torch.Tensor]) -> list[Reply]:
        """Return the reply to each of some selections that keep equally many tokens.

        Args:
            selections: all with replacement states, or all without.
            texts: LongTensor [n] each, with the end of turn: texts to compute the logits of.
        """
        length = len(self._prefix.input_ids) - self.audio_tokens + len(selections[0].kept)
        rows = 1 + len(texts)
        budget = _BATCH_TOKENS.get(self._loaded.device.type, 32_768)
        step = max(1, budget // (length * rows))
        replies = []
        for start in range(0, len(selections), step):
            replies += self._ask(selections[start : start + step], texts)
        return replies

    def _ask(self, selections: Sequence[Selection], texts: Sequence[torch.Tensor]) -> list[Reply]:
        model, prefix = self._loaded.model, self._prefix
        kept = torch.stack([selection.kept for selection in selections])
        states = None
        if selections[0].states is not None:
            states = torch.stack([s.states for s in selections if s.states is not None])
        begun = self._now()
        cache = replay_cache(model, prefix, kept, states)
        replayed = self._now()
        each = 1 + len(texts)
        cache.batch_repeat_interleave(each)
        ids = prefix.input_ids.to(model.device).expand(len(selections) * each, -1)
        limit = max([self.item.max_new_tokens, *map(len, texts)])
        # the ratio is for audio in what is new, and there is none
        with prune(model, Frame(), 0.5, prefix.layer):
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                past_key_values=cache,
                max_new_tokens=limit,
                do_sample=False,
                num_beams=1,
                logits_processor=[Forced(texts, len(selections), ids.shape[1])],
                return_dict_in_generate=True,
                output_logits=bool(texts),
            )
        new = output.sequences[:, ids.shape[1] :].cpu()
        taken = (replayed - begun) / len(selections), (self._now() - replayed) / len(selections)
        replies = []
        for first in range(0, len(new), each):
            logits = [step[first : first + each] for step in output.logits or ()]
            replies.append(self._reply(new[first], logits, texts, taken))
        return replies

    def _reply(
        self,
        new: torch.Tensor,
        steps: Sequence[torch.Tensor],
        texts: Sequence[torch.Tensor],
        taken: tuple[float, float],
    ) -> Reply:
        """Read one choice's answer [n] and, of each step, its rows of logits [1 + texts, vocab]."""
        new = new[: self.item.max_new_tokens]
        ends = torch.tensor(self._loaded.model.generation_config.eos_token_id)
        ended = torch.isin(new, ends).nonzero()[:1, 0].tolist()
        logits = tuple(
            torch.stack([step[number] for step in steps[: len(text)]]).float().cpu()
            for number, text in enumerate(texts, 1)
        )
        said = new[: ended[0] + 1] if ended else new
        return Reply(self._loaded.frontend.decode(said), bool(ended), said, logits, *taken)

    def _now(self) -> float:
        """Return the time, once the device has done what it was given."""
        wait_for(self._loaded.device)
        return time.perf_counter()


class Forced(LogitsProcessor):
    """Lets every row but the first of each choice say a given text."""

    def __init__(self, texts: Sequence[torch.Tensor], choices: int, start: int) -> None:
        self._texts, self._choices, self._start = texts, choices, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave one token possible in the rows whose text is not over."""
        step, each = input_ids.shape[1] - self._start, 1 + len(self._texts)
        scores = scores.clone()
        for number, text in enumerate(self._texts, 1):
            if step < len(text):
                rows = slice(number, None, each)
                scores[rows] = -torch.inf
                scores[rows, text[step]] = 0
        return scores
