"""Loading a processor without its image and video processors, and so without torchvision."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

#: What transformers before 5.23 reads of a Qwen processor's eyes although there is no picture.
BLIND = SimpleNamespace(merge_size=1)


def load_processor(name: str, folder: Path, trust_remote_code: bool) -> Any:
    """Load the processor class called ``name`` from a checkpoint's folder."""
    import transformers

    kind = getattr(transformers, name)

    def check(self: Any, part: str, argument: Any) -> Any:
        if argument is not None:
            return kind.check_argument_for_proper_class(self, part, argument)
        return type(None)

    options = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    loaders: dict[str, Any] = {
        "tokenizer": transformers.AutoTokenizer,
        "feature_extractor": transformers.AutoFeatureExtractor,
        "audio_processor": transformers.AutoFeatureExtractor,
    }
    parts = [
        loaders[part].from_pretrained(folder, **options) if part in loaders else None
        for part in kind.get_attributes()
    ]
    settings, _ = kind.get_processor_dict(folder, local_files_only=True)
    blind: Any = type(kind.__name__, (kind,), {"check_argument_for_proper_class": check})
    processor = blind.from_args_and_dict(parts, settings)
    for part in ("image_processor", "video_processor"):
        if getattr(processor, part, None) is None:
            setattr(processor, part, BLIND)
    return processor


def ears(processor: Any) -> Any:
    """Return the feature extractor, by whichever name."""
    by_name = getattr(processor, "feature_extractor", None)
    return processor.audio_processor if by_name is None else by_name
