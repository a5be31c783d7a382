"""In the worker: fewer embeddings an audio."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from typing import Any

import torch

from headrouter_core.errors import ProfileMismatchError
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.shipped import load_profile
from headrouter_core.scoring import keep_count
from headrouter_core.selectors.base import View
from headrouter_vllm import channels, choosing
from headrouter_vllm.models.probing import described, probed
from headrouter_vllm.processing import CHOICE, PROMPT
from headrouter_vllm.settings import Settings
from headrouter_vllm.starting import Started
from headrouter_vllm.tokens import audio_and_markers


class PrunedEmbeddings:
    """Mix-in before a vLLM model: of each audio it embeds k tokens instead of N_a."""

    config: Any
    get_language_model: Any

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        self._vllm_config = vllm_config
        self._started = Started.of(vllm_config.model_config.hf_config)
        self._profile: Profile | None = None
        if self._started is None:
            return
        self._started.announce("running the model")
        if self._started.settings.profile is not None:
            self._profile = load_profile(self._started.settings.profile)
            if self._profile.digest != self._started.digest:
                raise ProfileMismatchError(
                    f"{self._started.settings.profile} changed while the server was starting;"
                    " start it again"
                )

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Load weights, and hold the profile against them."""
        loaded: set[str] = super().load_weights(weights)  # type: ignore[misc]
        if self._started is not None and self._profile is not None:
            decoder, layer = self.get_language_model().model, self._profile.recipe.layer
            info = described(decoder, layer, self._started.family, self._vllm_config.model_config)
            doubts = self._profile.check_model(info, force=self._started.settings.force)
            for doubt in doubts:
                warnings.warn(f"headrouter: {doubt}", stacklevel=2)
        return loaded

    def embed_multimodal(self, **kwargs: object) -> Any:
        """Return the embeddings of items, those of audio cut down to the kept ones."""
        choices: Any = kwargs.pop(CHOICE, None)
        prompts: Any = kwargs.pop(PROMPT, None)
        embedded = super().embed_multimodal(**kwargs)  # type: ignore[misc]
        if choices is None:
            return embedded
        prompts = [None] * len(choices) if prompts is None else prompts
        items = zip(embedded, choices, prompts, strict=True)
        return tuple(self._kept(states, read(choice), prompt) for states, choice, prompt in items)

    def _kept(
        self, states: torch.Tensor, settings: Settings, prompt: torch.Tensor | None
    ) -> torch.Tensor:
        """Return an audio's kept embeddings, [k, D] or, with their indices, [k, D + 3]."""
        k = keep_count(len(states), settings.ratio)
        selector = choosing.selector(settings, self._profile)
        if prompt is None:
            view = View(len(states), states.device, 0, hidden_states=states)
        else:
            view = self._view(states, prompt, selector.text_tokens)
        kept, left = choosing.chosen(selector, view, states, k)
        return self._told(left, kept)

    def _told(self, states: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Return embeddings as vLLM takes them, where it numbers tokens itself."""
        return states

    def _view(self, states: torch.Tensor, prompt: torch.Tensor, text_tokens: str) -> View:
        """Return what a method by the question may see: of a prompt with one audio and text."""
        assert self._started is not None
        assert self._profile is not None
        audio, markers = audio_and_markers(
            self._started.family, self.config, self._vllm_config.model_config.hf_config
        )
        decoder = self.get_language_model().model
        return probed(
            decoder,
            prompt.to(states.device),
            states,
            (audio, markers),
            text_tokens,
            self._profile.recipe.layer,
            self._vllm_config,
        )


def read(choice: torch.Tensor) -> Settings:
    """Return what an item was marked with."""
    return Settings(**json.loads(bytes(choice.tolist())))


class WithIndices(PrunedEmbeddings):
    """Which tokens were kept goes along, for models whose tokens keep their positions."""

    def _told(self, states: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        if self._started is None:
            return states
        return channels.with_indices(states, kept)
