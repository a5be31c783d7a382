"""Pruned audio inside vLLM: a plug-in that registers subclasses of vLLM's audio models.

vLLM calls :func:`register` in each of its processes. What the plug-in then does is said by
``--hf-overrides '{"headrouter": {"ratio": 0.6}}'``; a server started without prunes nothing.
What it computes is :func:`headrouter_core.prune_inputs`, with a budget for each audio.
"""

from __future__ import annotations


def register() -> None:
    """Tell vLLM of the models: the entry point of ``vllm.general_plugins``; may run again."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    from headrouter_vllm.families import FAMILIES
    from headrouter_vllm.starting import chained

    for family in FAMILIES:
        for architecture in family.architectures:
            # by name: the models are imported where one of them is served, and nowhere else
            ModelRegistry.register_model(architecture, family.target)
            former = MODELS_CONFIG_MAP.get(architecture)
            MODELS_CONFIG_MAP[architecture] = chained(family, former)
