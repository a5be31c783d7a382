"""What a family is, and the parts of one loaded model of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrouter_core.errors import UsageError
from headrouter_core.families import discovery
from headrouter_core.families.attention import Attention
from headrouter_core.families.availability import lacking

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Family:
    """A model architecture that the core knows how to prune: what differs from plain discovery."""

    name: str
    model_types: tuple[str, ...]
    """``config.model_type`` of its models."""
    model_classes: tuple[str, ...]
    """Their classes in transformers; the last one is the part that is pruned."""
    tokens_per_second: float
    """Audio tokens that one second of long audio becomes."""
    rate_note: str = ""
    """Where the rate is not all: rounding, padding, windows."""
    notes: tuple[str, ...] = ()
    """What is worth knowing before pruning such a model; one sentence each."""
    vllm: str = ""
    """How well ``headrouter_vllm`` serves it: ``exact``, or, where vLLM numbers tokens
    anew, ``renumbered``; empty where it does not."""
    root: Callable[[nn.Module], nn.Module] = lambda model: model
    """From a model to the part to prune: its thinker, where it has one."""
    markers: Callable[[Any], tuple[int, ...]] = lambda config: ()
    """Ids of begin and end of audio that no configuration names, made from those that one does."""
    read_attention: Callable[[nn.Module], Attention] = discovery.read_attention
    """From a decoder layer to its attention."""
    divided: bool = False
    """Whether text stands between the audio tokens of one audio."""
    per_token: tuple[str, ...] = ()
    """Arguments of decoder layers, besides the usual ones, that hold something for each token."""
    finish: Callable[[Anatomy, torch.Tensor], torch.Tensor] = lambda anatomy, hidden: (
        anatomy.embedding(anatomy.norm(hidden))
    )
    """From what the last decoder layer put out to logits."""
    obstacle: Callable[[nn.Module, Mapping[str, Any], int], str | None] = lambda root, call, m: None
    """Why a call of the root, arguments by name, cannot be pruned at layer M, if so."""
    speech: Callable[[Mapping[str, Any]], bool] = lambda kwargs: False
    """Whether ``generate`` of the outer model, called so, would synthesise speech."""

    def lacking(self) -> str | None:
        """Return why the installed transformers has no such model; ``None`` if it has."""
        return lacking(self.name, self.model_classes)

    def locate(self, model: nn.Module) -> Anatomy:
        """Find the parts of a loaded model of this family.

        Raises:
            UnsupportedModelError: a part is missing or of a kind that cannot be pruned, or does not
                take by name what is relied on.
        """
        from headrouter_core.families.contract import check_model

        root = self.root(model)
        decoder = discovery.find_decoder(root)
        audio_ids = discovery.find_audio_ids(root)
        layers: nn.ModuleList = decoder.layers  # type: ignore[assignment]
        attentions = tuple(map(self.read_attention, layers))
        check_model(root, layers, [part.module for part in attentions], self.per_token)
        return Anatomy(
            family=self,
            root=root,
            layers=layers,
            attentions=attentions,
            norm=decoder.norm,  # type: ignore[arg-type]
            embedding=root.get_output_embeddings(),  # type: ignore[operator]
            audio_ids=audio_ids,
            marker_ids=discovery.find_marker_ids(root) + self.markers(root.config),
        )


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One loaded model: the modules and token ids that pruning has to do with."""

    family: Family
    root: nn.Module
    """The module with ``generate``; its forward takes ``input_ids`` and returns logits."""
    layers: nn.ModuleList
    attentions: tuple[Attention, ...]
    """One a decoder layer."""
    norm: nn.Module
    embedding: nn.Module
    """From normed hidden states to logits."""
    audio_ids: tuple[int, ...]
    marker_ids: tuple[int, ...]

    @property
    def shares_keys(self) -> bool:
        """Whether some layers take the keys of earlier ones."""
        return any(attention.keys is None for attention in self.attentions)

    def check_layer(self, layer: int) -> None:
        """Raise unless pruning can begin at ``layer``.

        Raises:
            UsageError: it cannot; the message says where it can.
        """
        from headrouter_core.basics.arguments import whole

        layer, depth = whole("layer", layer), len(self.layers)
        # keys that are lent to later layers must be as short as these are; transformers before 5.23
        # marks lenders of Gemma 4 Unified, where nobody borrows
        marked = [index for index, part in enumerate(self.attentions) if part.lends_keys]
        lenders = marked if self.shares_keys else []
        last = min([depth - 1, *lenders])
        if not 1 <= layer <= last:
            lent = f"; later layers take the keys of layer {last}" if lenders else ""
            raise UsageError(
                f"layer {layer} is outside [1, {last}]: this model has {depth} decoder layers, and "
                f"the one before is probed{lent}"
            )

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits of hidden states as the last decoder layer put them out."""
        return self.family.finish(self, hidden)


def has_pictures(call: Mapping[str, Any]) -> bool:
    """Whether a call of a model brings images or video."""
    encoded = call.get("mm_encoder_outputs") or {}
    given = [call.get("pixel_values"), call.get("pixel_values_videos")]
    return any(part is not None for part in (*given, encoded.get("image"), encoded.get("video")))
