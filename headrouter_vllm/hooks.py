"""What of vLLM the plug-in needs, verified by name before anything is served."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from headrouter_vllm.errors import StartError

#: The version that was proved; others are tried if all of the below is there.
PROVED = "0.32.0"

#: module -> what it has to hold: attributes, with the arguments that are relied on.
NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "vllm.multimodal.processing.processor": {
        "BaseMultiModalProcessor.apply": ("inputs", "timing_ctx"),
        "BaseMultiModalProcessor.get_dummy_inputs": (),
        "BaseMultiModalProcessor._get_mm_hashes": ("inputs",),
        "BaseMultiModalProcessor._apply_hf_processor_main": ("mm_items", "hf_kwargs"),
        "BaseMultiModalProcessor._get_mm_fields_config": ("hf_inputs", "hf_processor_mm_kwargs"),
        "BaseMultiModalProcessor._get_prompt_updates": (
            "mm_items",
            "hf_processor_mm_kwargs",
            "out_mm_kwargs",
        ),
        "BaseMultiModalProcessor._maybe_apply_prompt_updates": ("mm_items", "mm_res"),
        "PromptReplacement": ("modality", "target", "replacement"),
        "PromptUpdateDetails": ("full", "is_embed"),
    },
    "vllm.multimodal.processing.inputs": {
        "ProcessorInputs": ("prompt", "mm_data_items", "hf_processor_mm_kwargs"),
    },
    "vllm.multimodal.inputs": {
        "MultiModalFieldConfig.batched": ("modality", "keep_on_cpu"),
        "PlaceholderRange": ("offset", "length"),
        "MultiModalFeatureSpec": ("data", "modality", "mm_position"),
    },
    "vllm.multimodal.encoder_budget": {"get_mm_max_toks_per_item": ("processor", "mm_counts")},
    "vllm.model_executor.models.interfaces": {
        "SupportsMultiModal.embed_multimodal": (),
        "SupportsMultiModal.get_language_model": (),
        "SupportsMRoPE.get_mrope_input_positions": ("input_tokens", "mm_features"),
        "SupportsMultiModalPruning.recompute_mrope_positions": (
            "input_ids",
            "multimodal_embeddings",
            "mrope_positions",
            "num_computed_tokens",
        ),
    },
    "vllm.forward_context": {"set_forward_context": ("attn_metadata", "vllm_config", "num_tokens")},
    "vllm.config.multimodal": {"MultiModalConfig.is_multimodal_pruning_enabled": ()},
}


def require() -> None:
    """Raise unless this vLLM has every hook.

    Raises:
        StartError: naming what is missing.
    """
    missing = [line for module, names in NEEDED.items() for line in lacking(module, names)]
    if missing:
        raise StartError(
            f"headrouter: vLLM {version()} lacks what pruning needs: {', '.join(missing)}; use vLLM"
            f" {PROVED}, or a headrouter-vllm that knows this one"
        )


def version() -> str:
    """Return vLLM's version."""
    return str(getattr(importlib.import_module("vllm"), "__version__", "of no known version"))


def lacking(module: str, names: dict[str, tuple[str, ...]]) -> list[str]:
    """Return what of a module is not there, or does not take its arguments by name."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        return [module]
    missing = []
    for path, arguments in names.items():
        value: Any = found
        for part in path.split("."):
            value = getattr(value, part, None)
        if value is None:
            missing.append(f"{module}.{path}")
            continue
        taken = inspect.signature(value).parameters if arguments else ()
        missing += [f"{name} of {module}.{path}" for name in arguments if name not in taken]
    return missing
