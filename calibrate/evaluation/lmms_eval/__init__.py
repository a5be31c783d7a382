"""lmms-eval: a pruned model under ``--model headrouter_qwen2_5_omni``.

Only this file and ``model.py`` import lmms-eval; the rest can be tested without it.
"""

from __future__ import annotations

from typing import Any

#: What ``--model`` knows it by.
MODEL = "headrouter_qwen2_5_omni"


def manifest() -> Any:
    """Return the ``ModelManifest`` that lmms-eval asks the entry point for.

    The model is registered as a *simple* one, to which a task hands its audio as it is. A *chat*
    model is given messages, and those that lmms-eval derives from an audio task hold the name of
    the recording and not its samples (0.7.3, ``ConfigurableMessagesTask._visual_to_content``).
    """
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(MODEL, simple_class_path=f"{__name__}.model.PrunedOmni")
