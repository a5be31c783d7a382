"""One prompt asked of vLLM and of transformers with ``prune_inputs``, and what differs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch

from headrouter_core import (
    AdaptiveSegments,
    Frame,
    HeadRouter,
    Segments,
    families,
    load_profile,
    prune_inputs,
)
from headrouter_core.families.discovery import find_decoder
from headrouter_core.scoring import frame_indices

from ...headrouter_core.checking.bundles import make_profile
from .prompts import RATE, sound

#: Largest difference of log-probabilities.
CLOSE = 1e-4
NEW = 4
BY_CONTENT = {"frame": Frame, "segments": Segments}
BY_QUESTION = {"headrouter": HeadRouter, "adaptive_segments": AdaptiveSegments}
METHODS = (*BY_CONTENT, *BY_QUESTION)


@dataclass
class Sides:
    """The same checkpoint in both engines."""

    engine: Any
    reference: Any
    processor: Any
    profile: Any = None
    renumbered: bool = False
    kept: list[list[int]] = field(default_factory=list)
    """Which tokens vLLM kept, of one audio after the other."""
    lone: str = ""
    """A prompt of one audio."""

    def ask(self, text: str, seconds: Any, more: Any = None, **settings: Any) -> Any:
        """Return vLLM's greedy output with the log-probabilities of each token."""
        from vllm import SamplingParams

        audios = [(sound(0, end), RATE) for end in seconds]
        given = {
            "prompt": text,
            "multi_modal_data": {"audio": audios, **(more or {})},
            "mm_processor_kwargs": {"headrouter": settings},
        }
        asked = SamplingParams(temperature=0, max_tokens=NEW, logprobs=5, ignore_eos=True)
        return self.engine.generate([given], asked, use_tqdm=False)[0]

    def inputs(self, text: str, seconds: Any, **more: Any) -> dict[str, Any]:
        """Return what the processor of transformers makes of a prompt."""
        audios = [sound(0, end) for end in seconds]
        given = {"text": text, "audio": audios, "sampling_rate": RATE, "return_tensors": "pt"}
        return dict(self.processor(**given, **more))

    @torch.no_grad()
    def differ(self, text: str, seconds: Any, method: str, ratio: float) -> float:
        """Return the largest difference of log-probabilities, having compared all else."""
        self.kept.clear()
        output = self.ask(text, seconds, method=method, ratio=ratio)
        inputs = self.inputs(text, seconds)
        if ratio == 0:
            assert list(output.prompt_token_ids) == inputs["input_ids"][0].tolist()
            return self._told(output, inputs)
        reads = method in BY_QUESTION
        chooser = BY_QUESTION[method](load_profile(self.profile)) if reads else BY_CONTENT[method]()
        pruned = prune_inputs(
            self.reference, inputs, chooser, ratio, 2 if reads else 0, per_audio=True
        )
        assert len(output.prompt_token_ids) == pruned["inputs_embeds"].shape[1]
        whole = [self._counted(end) for end in seconds]
        flat, start = [], 0
        for count, some in zip(whole, self.kept, strict=True):
            flat += [start + one for one in some]
            start += count
        assert flat == pruned.trace[0].kept.tolist()
        given = dict(pruned)
        if self.renumbered:
            del given["position_ids"]
        return self._told(output, given)

    def _counted(self, seconds: float) -> int:
        placeholder = families.locate(self.reference).audio_ids[0]
        ids = self.inputs(self.lone, [seconds])["input_ids"][0]
        return int((ids == placeholder).sum())

    def _told(self, output: Any, given: dict[str, Any]) -> float:
        """Compare greedy ids, and return how much log-probabilities of the first differ."""
        wanted = self.reference.generate(
            **given,
            max_new_tokens=NEW,
            min_new_tokens=NEW,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        ids = wanted.sequences[0][-NEW:].tolist()
        assert list(output.outputs[0].token_ids) == ids
        first = wanted.logits[0][0].log_softmax(-1)
        told = output.outputs[0].logprobs[0].items()
        return max(abs(first[token].item() - one.logprob) for token, one in told)

    @torch.no_grad()
    def differ_masked(self, text: str, seconds: Any, more: Any, given: Any, ratio: float) -> float:
        """Compare with a whole prompt in transformers in which no layer may see dropped tokens.

        For prompts with pictures, whose features some models add behind the embedding.
        """
        self.kept.clear()
        output = self.ask(text, seconds, more, method="frame", ratio=ratio)
        inputs = self.inputs(text, seconds, **given)
        seen: list[torch.Tensor] = []
        decoder = find_decoder(self.reference)
        hook = decoder.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs["position_ids"]), with_kwargs=True
        )
        self.reference(**inputs)
        hook.remove()
        ids = inputs["input_ids"][0]
        stay = torch.ones_like(ids)
        placeholder = families.locate(self.reference).audio_ids[0]
        places, start = (ids == placeholder).nonzero()[:, 0], 0
        for end, some in zip(seconds, self.kept, strict=True):
            count = self._counted(end)
            assert some == frame_indices(count, len(some)).tolist()
            mine = places[start : start + count]
            stay[mine] = 0
            stay[mine[torch.tensor(some)]] = 1
            start += count
        assert list(output.prompt_token_ids) == ids[stay.bool()].tolist()
        inputs |= {"attention_mask": stay[None], "position_ids": seen[0]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logprobs = self.reference(**inputs).logits[0, -1].log_softmax(-1)
        told = output.outputs[0].logprobs[0].items()
        return max(abs(logprobs[token].item() - one.logprob) for token, one in told)


def profiled(reference: Any, folder: Any) -> Any:
    """Return a profile of this very model, so that nothing is forced."""
    path = folder / "profile.safetensors"
    make_profile(model=families.model_info(reference, 2)).save(path)
    return path
