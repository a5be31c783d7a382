"""In the worker: kept tokens have the rotary positions that they have in the whole prompt.

For models with positions of three axes (M-RoPE), whose positions vLLM lets the model say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from headrouter_core.scoring import frame_indices, keep_count
from headrouter_vllm import channels
from headrouter_vllm.models.embedding import WithIndices, read
from headrouter_vllm.processing import CHOICE
from headrouter_vllm.starting import Started
from headrouter_vllm.tokens import audio_and_markers


class KeptPositions(WithIndices):
    """Mix-in before a vLLM model with M-RoPE."""

    supports_multimodal_pruning = True
    supported_video_pruning_methods = ("evs",)

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        if Started.of(vllm_config.model_config.hf_config) is not None:
            tell_cpu_runner()

    def audio_token_count(self, frames: int) -> int:
        """Return N_a, how many tokens so many frames of features become."""
        return int(self._compute_audio_token_count(frames))  # type: ignore[attr-defined]

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: list[Any]
    ) -> tuple[torch.Tensor, int]:
        """Return positions [3, P] of a pruned prompt, and what they are ahead of its length.

        Those of the text are right, those of audio stand in until it is known which are kept.
        """
        if self._started is None:
            return super().get_mrope_input_positions(input_tokens, mm_features)  # type: ignore
        columns, tokens, features, done, grown = [], [], [], 0, 0
        for feature in sorted(mm_features, key=lambda one: one.mm_position.offset):
            place = feature.mm_position
            came = self._came(feature)
            columns.append(torch.arange(done, place.offset) + grown)
            tokens += input_tokens[done : place.offset]
            there = place.offset + grown
            columns.append(frame_indices(came, place.length) + there)
            tokens += input_tokens[place.offset : place.offset + place.length]
            tokens += tokens[-1:] * (came - place.length)
            whole = replace(place, offset=there, length=came)
            features.append(replace(feature, mm_position=whole))
            done, grown = place.offset + place.length, grown + came - place.length
        columns.append(torch.arange(done, len(input_tokens)) + grown)
        positions, _ = super().get_mrope_input_positions(  # type: ignore[misc]
            tokens + input_tokens[done:], features
        )
        left = positions[:, torch.cat(columns)]
        return left, _ahead(left)

    def _came(self, feature: Any) -> int:
        """Return how many tokens an item of a prompt had before it was pruned."""
        length: int = feature.mm_position.length
        if feature.modality != "audio" or not feature.data or CHOICE not in feature.data:
            return length
        came = self.audio_token_count(int(feature.data["audio_feature_lengths"].data))
        k = keep_count(came, read(feature.data[CHOICE].data).ratio)
        if k != length:
            raise RuntimeError(
                f"headrouter: an audio of {came} tokens keeps {k}, but has {length} placeholders;"
                " please report this, with your version of vLLM"
            )
        return came

    def recompute_mrope_positions(
        self,
        input_ids: list[int] | torch.Tensor,
        multimodal_embeddings: Sequence[torch.Tensor],
        mrope_positions: torch.Tensor,
        num_computed_tokens: int,
    ) -> tuple[Sequence[torch.Tensor], torch.Tensor, int]:
        """Take the indices off embeddings, and put the kept tokens where they were."""
        width = self.get_language_model().model.config.hidden_size + channels.CHANNELS
        plain, indices = [], []
        for states in multimodal_embeddings:
            if states.shape[-1] == width:
                states, kept = channels.split(states)
                indices.append(kept.to(mrope_positions.device))
            plain.append(states)
        if indices:
            audio, _ = audio_and_markers(
                self._family, self.config, self._vllm_config.model_config.hf_config
            )
            ids = torch.as_tensor(input_ids, device=mrope_positions.device)
            mrope_positions = channels.placed(
                mrope_positions, ids == audio, num_computed_tokens, torch.cat(indices)
            )
        return plain, mrope_positions, _ahead(mrope_positions)

    @property
    def _family(self) -> str:
        assert self._started is not None
        return self._started.family


def _ahead(positions: torch.Tensor) -> int:
    """Return by how much the next token's position is ahead of its column."""
    return int(positions.max()) + 1 - positions.shape[1]


def tell_cpu_runner() -> None:
    """Let vLLM's CPU runner ask for positions, as its GPU runners do.

    Those look at the end of ``load_model`` whether a model prunes; the CPU's own ``load_model``
    (0.32) leaves that out, so that its answer stays the ``False`` of the constructor.
    """
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    CPUModelRunner.is_multimodal_pruning_enabled = property(_prunes, _unheard)


def _prunes(runner: Any) -> bool:
    config = runner.model_config.multimodal_config
    model = getattr(runner, "model", None)
    able = getattr(model, "supports_multimodal_pruning", False)
    return bool(able and config is not None and config.is_multimodal_pruning_enabled())


def _unheard(runner: Any, value: object) -> None:
    """Let the constructor say what it likes."""
