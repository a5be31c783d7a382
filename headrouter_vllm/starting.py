"""What is settled once, when a server's configuration is made, and then known in each process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from headrouter_core.profile.shipped import load_profile
from headrouter_vllm import hooks
from headrouter_vllm.errors import StartError
from headrouter_vllm.families import ServedFamily
from headrouter_vllm.settings import KEY, Settings
from headrouter_vllm.tokens import unclear_markers

log = logging.getLogger("vllm.headrouter")

#: Where the outcome stands in a model's configuration; what was asked for stands under KEY.
NOTE = "headrouter_started"

#: Parts of this process that have said that they are active.
_announced: set[str] = set()

#: vLLM lets models move positions where it takes them to prune video: any rate above 0 says so,
#: and none of our families reads it.
_SWITCH = 0.5


@dataclass(frozen=True)
class Started:
    """The server's settings, checked against everything else that it was started with."""

    settings: Settings
    family: str
    digest: str | None
    """Of the profile."""
    room: int
    """Embedding tokens that the encoder cache holds, unless one item may be longer."""

    @classmethod
    def of(cls, hf_config: Any) -> Started | None:
        """Return what was settled for a model's configuration; ``None`` where nothing is pruned."""
        said = getattr(hf_config, NOTE, None)
        return None if said is None else cls(Settings(**said["settings"]), **said["rest"])

    def note(self, hf_config: Any) -> None:
        """Write it where every process finds it, in the configuration that vLLM sends around."""
        rest = asdict(self)
        setattr(hf_config, NOTE, {"settings": rest.pop("settings"), "rest": rest})

    def describe(self) -> str:
        """Return the line that each process logs."""
        said, layer = self.settings, "layer=0, " if not self.settings.reads_question else ""
        profile = (
            "no profile" if self.digest is None else f"profile {said.profile} {self.digest[:12]}"
        )
        equal = f"equals prune_inputs({layer}per_audio=True), which is not prune"
        if said.positions == "renumbered":
            equal = "positions are renumbered, so that it equals neither prune_inputs nor prune"
        return (
            f"active: {self.family}, method {said.method}, ratio {float(Fraction(said.ratio)):g},"
            f" {profile}; {equal}"
        )

    def announce(self, part: str) -> None:
        """Log the line, once for each part that a process has."""
        if part not in _announced:
            _announced.add(part)
            log.info("headrouter: %s (%s)", self.describe(), part)


def chained(family: ServedFamily, former: Any) -> type:
    """Return vLLM's kind of hook on a configuration: what was there before, and then ours."""

    class Configured:
        @staticmethod
        def verify_and_update_config(vllm_config: Any) -> None:
            if former is not None:
                former.verify_and_update_config(vllm_config)
            start(family, vllm_config)

        @staticmethod
        def verify_and_update_model_config(model_config: Any) -> None:
            if former is not None:
                former.verify_and_update_model_config(model_config)

    return Configured


def start(family: ServedFamily, vllm_config: Any) -> None:
    """Settle how a server prunes, or raise; vLLM may call it again for a changed configuration.

    Raises:
        UsageError, ProfileError: settings that are none, a profile that cannot be read.
        StartError: something else that the server was told to do does not go with it.
    """
    model = vllm_config.model_config
    if not hasattr(model.hf_config, KEY):
        log.info(
            'headrouter: not active; --hf-overrides \'{"%s": {"ratio": 0.6}}\' prunes audio', KEY
        )
        return
    settings = Settings.at_start(getattr(model.hf_config, KEY))
    hooks.require()
    problems = [*_refused(family, settings, vllm_config), *_unproven(settings, vllm_config)]
    if problems:
        raise StartError("headrouter: " + "; ".join(problems))
    digest = None if settings.profile is None else load_profile(settings.profile).digest
    room = vllm_config.scheduler_config.encoder_cache_size
    Started(settings, family.name, digest, room).note(model.hf_config)
    if family.positions == "kept":
        model.multimodal_config.video_pruning_rate = _SWITCH


def _refused(family: ServedFamily, settings: Settings, vllm_config: Any) -> Iterator[str]:
    """Say what cannot be had beside pruning at all."""
    model, parallel = vllm_config.model_config, vllm_config.parallel_config
    if settings.positions != family.positions:
        if family.positions == "renumbered":
            yield (
                f"vLLM numbers the tokens of {family.name} anew, so that kept ones cannot have"
                ' their positions; ask for that other function by "positions": "renumbered"'
            )
        else:
            yield f'{family.name} keeps positions; leave out "positions"'
    if family.positions == "kept" and not model.uses_mrope:
        yield (
            f"this checkpoint of {family.name} names no mrope_section in its rope_parameters, so"
            " that vLLM would number its tokens anew"
        )
    if settings.reads_question and family.positions == "renumbered":
        yield f"{settings.method} is not for renumbered positions; use frame or segments"
    if parallel.pipeline_parallel_size > 1:
        yield "with pipeline parallelism later stages would not learn the positions"
    if settings.profile is not None:
        yield from _unprobed(family, model.hf_config, parallel)
    if vllm_config.speculative_config is not None:
        yield "drafts of speculative decoding would see other positions"
    lora = vllm_config.lora_config
    if lora is not None and getattr(lora, "enable_tower_connector_lora", False):
        yield "LoRA on the audio tower counts its tokens as unpruned"
    if lora is not None and settings.profile is not None:
        yield "the probe runs without LoRA; leave out the profile, or --enable-lora"
    if model.multimodal_config.video_pruning_rate and Started.of(model.hf_config) is None:
        yield "--video-pruning-rate is how vLLM is told of our positions; leave it out"
    always = model.multimodal_config.mm_processor_kwargs or {}
    if always.get("use_audio_in_video"):
        yield "use_audio_in_video mixes audio and video tokens, whose positions are not kept"
    if KEY in always:
        yield f'--mm-processor-kwargs does not reach headrouter; say "{KEY}" in --hf-overrides'
    if getattr(vllm_config.compilation_config, "cudagraph_mm_encoder", False):
        yield "CUDA graphs of the encoder go past embed_multimodal; leave out cudagraph_mm_encoder"


def _unprobed(family: ServedFamily, hf_config: Any, parallel: Any) -> Iterator[str]:
    """Say what keeps the first layers from being run and read for the question."""
    if parallel.tensor_parallel_size > 1:
        yield "with tensor parallelism no process has all heads to probe; leave out the profile"
    if parallel.data_parallel_size > 1 or parallel.enable_expert_parallel:
        yield (
            "with data or expert parallelism experts wait for all processes, and the probe runs in"
            " one; leave out the profile"
        )
    heard = getattr(hf_config, "thinker_config", hf_config)
    if doubt := unclear_markers(family.name, heard, hf_config):
        yield f"{doubt}; name it in --hf-overrides beside headrouter, or leave out the profile"


def _unproven(settings: Settings, vllm_config: Any) -> Iterator[str]:
    """Say what nobody has seen to be exact, unless that was asked for."""
    if settings.unproven:
        return
    parallel = vllm_config.parallel_config
    doubts = {
        "tensor parallelism has not been run": parallel.tensor_parallel_size > 1,
        "KV transfer has not been run": vllm_config.kv_transfer_config is not None,
        "encoders in another process have not been run": vllm_config.ec_transfer_config is not None,
    }
    for doubt in (doubt for doubt, holds in doubts.items() if holds):
        yield f'{doubt} and compared; to try it all the same say "unproven": true'
