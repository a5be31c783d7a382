"""In the API server: fewer placeholders, and what the model has to know of each audio."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from vllm.multimodal.encoder_budget import get_mm_max_toks_per_item
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing.processor import PromptUpdateDetails

from headrouter_core.engine.prompt.budget import Budget
from headrouter_core.engine.prompt.reading import Reader
from headrouter_core.scoring import keep_count
from headrouter_vllm.choosing import selector
from headrouter_vllm.counting import TALLY
from headrouter_vllm.errors import RequestError
from headrouter_vllm.settings import KEY, Settings
from headrouter_vllm.starting import Started
from headrouter_vllm.tokens import audio_and_markers

#: Field of an item, uint8 [bytes]: JSON of what decides what is kept.
CHOICE = "headrouter_choice"
#: Field of an item, int64 [tokens]: the prompt with one placeholder for the audio.
PROMPT = "headrouter_prompt"
#: What a request says that says nothing: ``null`` is something.
_NOTHING = object()


@dataclass(frozen=True)
class Asked:
    """What one prompt gets, settled once on its way in."""

    settings: Settings
    prompt: tuple[int, ...] | None = None
    """Where the question counts."""
    rehearsal: bool = False
    """No prompt, but one of vLLM's for measuring memory: of unpruned audio, and not counted."""

    def identity(self, digest: str | None) -> str:
        """Return what, beside the sound, decides what the model makes of an audio."""
        told: dict[str, Any] = {**self.settings.chosen_by(), "rehearsal": self.rehearsal}
        if self.prompt is not None:
            told |= {"prompt": self.prompt, "profile": digest}
        return json.dumps(told, sort_keys=True)


class Shortened(list[int]):
    """Placeholders of one audio, which know how many there were."""

    def __init__(self, tokens: Sequence[int], came: int, stayed: int) -> None:
        super().__init__(tokens)
        self.came, self.stayed = came, stayed


class PruningProcessor:
    """Mix-in before a vLLM multimodal processor: its audios get k placeholders instead of N_a."""

    info: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._started = Started.of(self.info.ctx.model_config.hf_config)
        if self._started is not None:
            self._started.announce("reading prompts")

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """Settle what a prompt gets, then let vLLM process it.

        Raises:
            RequestError: it asks for what cannot be done.
        """
        kwargs = dict(inputs.hf_processor_mm_kwargs)
        said = kwargs.pop(KEY, _NOTHING)
        if self._started is None:
            if said is not _NOTHING:
                raise RequestError(
                    "headrouter is not switched on: start the server with --hf-overrides"
                    f" '{{\"{KEY}\": {{}}}}' --trust-request-mm-kwargs, and requests may say"
                    f' "{KEY}"'
                )
            return super().apply(inputs, timing_ctx)  # type: ignore[misc]
        asked = said if isinstance(said, Asked) else self._asked(inputs, kwargs, said)
        kwargs[KEY] = asked
        inputs = replace(inputs, hf_processor_mm_kwargs=kwargs)
        processed = super().apply(inputs, timing_ctx)  # type: ignore[misc]
        if self._started.settings.positions == "kept":
            _check_apart(processed["mm_placeholders"].get("audio", ()))
        return processed

    def get_dummy_inputs(self, *args: Any, **kwargs: Any) -> Any:
        """Return what vLLM measures memory with: audio of which nothing is dropped."""
        inputs = super().get_dummy_inputs(*args, **kwargs)  # type: ignore[misc]
        if self._started is None:
            return inputs
        whole = Asked(replace(self._started.settings, ratio="0"), rehearsal=True)
        told = {**inputs.hf_processor_mm_kwargs, KEY: whole}
        return replace(inputs, hf_processor_mm_kwargs=told)

    def _asked(self, inputs: Any, kwargs: Mapping[str, Any], said: object) -> Asked:
        assert self._started is not None
        settings = self._started.settings
        if said is not _NOTHING:
            settings = settings.asked(said)
        items = inputs.mm_data_items
        if not items.get("audio"):
            return Asked(settings)
        if kwargs.get("use_audio_in_video"):
            raise RequestError(
                "use_audio_in_video mixes audio and video tokens, whose positions cannot be kept:"
                " send the audio by itself, or serve without headrouter"
            )
        if items["audio"].get_passthrough_data():
            raise RequestError("audio has to come as sound, not as embeddings, to be pruned")
        if not settings.reads_question or settings.ratio == "0":
            return Asked(settings)
        others = [name for name, some in items.items() if len(some) and name != "audio"]
        if len(items["audio"]) > 1 or others:
            what = f"{len(items['audio'])} audios" if not others else " and ".join(others)
            raise RequestError(
                f"{settings.method} reads the whole prompt, and this one has {what} beside its"
                " audio; send one audio and text, or ask for frame or segments"
            )
        prompt = tuple(inputs.prompt)
        self._check_text(settings, prompt)
        return Asked(settings, prompt)

    def _check_text(self, settings: Settings, prompt: tuple[int, ...]) -> None:
        """Raise unless there is one place for the audio, and text to probe."""
        assert self._started is not None
        inner, outer = self.info.get_hf_config(), self.info.ctx.model_config.hf_config
        audio, markers = audio_and_markers(self._started.family, inner, outer)
        tokens = selector(settings, self._profile).text_tokens
        reader = Reader((audio,), markers, tokens, Budget(keep=1))
        ids = torch.tensor(prompt)
        row = reader.row(ids, torch.ones_like(ids, dtype=torch.bool), len(prompt))
        if len(row.audio) != 1:
            raise RequestError(
                f"the prompt has {len(row.audio)} audio placeholders for one audio; write one"
            )
        if not len(row.text):
            raise RequestError(
                f"{settings.method} reads {tokens} text tokens of the prompt, and there are none;"
                " put the question there, or ask for frame or segments"
            )

    def _get_mm_hashes(self, inputs: Any) -> Any:
        kwargs, asked = _apart(inputs.hf_processor_mm_kwargs)
        if asked is not None:
            assert self._started is not None
            identity = asked.identity(self._started.digest)
            # under this key it counts for audio alone: pictures are shared by all settings
            audio = {**(kwargs.get("audio_kwargs") or {}), KEY: identity}
            kwargs["audio_kwargs"] = audio
        return super()._get_mm_hashes(  # type: ignore[misc]
            replace(inputs, hf_processor_mm_kwargs=kwargs)
        )

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Mapping[str, Any]) -> Any:
        kwargs, asked = _apart(hf_kwargs)
        data = super()._apply_hf_processor_main(mm_items, kwargs)  # type: ignore[misc]
        count = mm_items.get_all_counts().get("audio", 0)
        if asked is not None and count:
            told = json.dumps(asked.settings.chosen_by()).encode()
            data[CHOICE] = torch.tensor(list(told), dtype=torch.uint8).repeat(count, 1)
            if asked.prompt is not None:
                data[PROMPT] = torch.tensor(asked.prompt).repeat(count, 1)
        return data

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Any) -> Any:
        kwargs, _ = _apart(hf_processor_mm_kwargs)
        fields = dict(super()._get_mm_fields_config(hf_inputs, kwargs))  # type: ignore[misc]
        for name in (CHOICE, PROMPT):
            if name in hf_inputs:
                fields[name] = MultiModalFieldConfig.batched("audio", keep_on_cpu=True)
        return fields

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, Any], out_mm_kwargs: Any
    ) -> Any:
        kwargs, asked = _apart(hf_processor_mm_kwargs)
        updates = super()._get_prompt_updates(mm_items, kwargs, out_mm_kwargs)  # type: ignore[misc]
        if asked is None or asked.rehearsal:
            return updates
        ratio = asked.settings.ratio
        return [shorter(one, ratio) if one.modality == "audio" else one for one in updates]

    def _maybe_apply_prompt_updates(self, mm_items: Any, mm_res: Any) -> Any:
        """Count, and refuse what would not fit, as soon as lengths are known."""
        each = [update for some in mm_res.prompt_updates.get("audio", ()) for update in some]
        found = [update.content.full for update in each]
        sizes = [full for full in found if isinstance(full, Shortened)]
        if sizes:
            self._check_room([size.stayed for size in sizes], [size.came for size in sizes])
            TALLY.add([size.came for size in sizes], [size.stayed for size in sizes])
        return super()._maybe_apply_prompt_updates(mm_items, mm_res)  # type: ignore[misc]

    def _check_room(self, stayed: list[int], came: list[int]) -> None:
        assert self._started is not None
        longest = max(stayed)
        if longest <= self._started.room or longest <= self._longest_item:
            return
        room = max(self._started.room, self._longest_item)
        whole = came[stayed.index(longest)]
        raise RequestError(
            f"an audio of {whole} tokens keeps {longest}, and the encoder cache holds {room}: prune"
            f" more, send shorter audio, or start the server with --max-num-batched-tokens"
            f" {longest} or more"
        )

    @cached_property
    def _longest_item(self) -> int:
        """Tokens of the longest item that vLLM reckons with by itself."""
        counts = {name: 1 for name, limit in self.info.allowed_mm_limits.items() if limit}
        return max(get_mm_max_toks_per_item(self, cache=None, mm_counts=counts).values(), default=0)

    @cached_property
    def _profile(self) -> Any:
        from headrouter_core.profile.shipped import load_profile

        assert self._started is not None
        name = self._started.settings.profile
        return None if name is None else load_profile(name)


def shorter(update: Any, ratio: str) -> Any:
    """Return vLLM's update of a prompt with as many audio placeholders as are kept."""

    def replacement(index: int) -> PromptUpdateDetails:
        content = update.content(index) if callable(update.content) else update.content
        if not isinstance(content, PromptUpdateDetails):
            content = PromptUpdateDetails.from_seq(content)
        tokens = content.full
        embeds = [True] * len(tokens) if content.is_embed is None else content.is_embed(tokens)
        came = int(sum(embeds))
        left = stays = keep_count(came, ratio)
        kept = []
        for token, is_audio in zip(tokens, embeds, strict=True):
            if is_audio:
                left -= 1
            if not is_audio or left >= 0:
                kept.append(token)
        return replace(content, full=Shortened(kept, came, stays))

    return replace(update, replacement=replacement)


def _apart(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], Asked | None]:
    """Return the processor's own options, and ours."""
    rest = dict(kwargs)
    asked = rest.pop(KEY, None)
    return rest, asked


def _check_apart(places: Sequence[Any]) -> None:
    ends = 0
    for place in sorted(places, key=lambda place: place.offset):
        if place.offset == ends and ends:
            raise RequestError(
                "two audios touch in the prompt, so that kept positions would be unclear; put their"
                " markers or text between them"
            )
        ends = place.offset + place.length
