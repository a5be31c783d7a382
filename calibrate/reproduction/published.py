"""What the paper prints: HeadRouter, arXiv 2604.23717v1, tables 1 to 3."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_FILE = Path(__file__).with_name("published.json")
#: Our method -> the paper's name of it; the others are not in its tables.
METHODS = {
    "vanilla": "Vanilla",
    "random": "Random",
    "fastv": "FastV",
    "dart": "DART",
    "frame": "Frame",
    "headrouter:auto": "HeadRouter",  # the paper's routing, whatever a profile's recipe names
}
#: Models of the paper -> what the ids of their checkpoints hold, in lower case.
_MODELS = {
    "Qwen2.5-Omni-3B": "qwen2.5-omni-3b",
    "Qwen2.5-Omni-7B": "qwen2.5-omni-7b",
    "Phi-4-Multimodal": "phi-4-multimodal",
}
_AVERAGE = "average_percent"


@dataclass(frozen=True, eq=False)
class Layout:
    """How the paper lays out a set."""

    key: str
    """Of the published numbers."""
    title: str
    columns: dict[str, str]
    """Task here -> the paper's heading."""
    metric: str
    """Key of a row of scores, or ``score`` for the headline of each task."""
    weighted: bool
    """Whether the average counts each item once, and not each task."""
    note: str = ""
    """What has to be known to compare averages."""


AUDIOMARATHON = Layout(
    "audiomarathon",
    "AudioMarathon (table 1): macro-F1, ASR: word accuracy",
    {name: name for name in ("SER", "SCR", "ASR", "SED", "MC", "ASC", "ER", "SAR", "SGR")},
    "score",
    False,
)
MMAU_PRO = Layout(
    "mmau_pro",
    "MMAU-Pro (tables 2 and 3): accuracy",
    {
        "speech": "Speech",
        "voice_chat": "VoiceChat",
        "sound": "Sound",
        "music": "Music",
        "spatial_audio": "Spatial",
    },
    "accuracy",
    True,
    "The paper's averages are of 2,567 of the set's questions; its columns, weighted by the sizes"
    " of the whole categories, give up to 5.4 points less or 1.8 more.",
)


@dataclass(frozen=True)
class Published:
    """The numbers of one model."""

    model: str
    same: bool
    """Whether it is the model that is asked about; else the paper's first stands beside it."""
    scores: dict[str, dict[tuple[str, int], dict[str, float]]]
    """Set -> (method here, percent of audio tokens kept) -> heading or ``average`` -> number."""


def published(model: str) -> Published:
    """Return the paper's numbers of a model, or of Qwen2.5-Omni-3B where it has none of it.

    Args:
        model: a Hub id, an alias or a folder's name.
    """
    content = json.loads(_FILE.read_text("utf-8"))
    name = next((name for name, part in _MODELS.items() if part in model.lower()), None)
    chosen = name or "Qwen2.5-Omni-3B"
    ours = {theirs: method for method, theirs in METHODS.items()}
    scores = {
        layout.key: {
            (ours[method], int(kept)): {
                "average" if heading == _AVERAGE else heading: number
                for heading, number in row.items()
            }
            for kept, rows in content[layout.key][chosen].items()
            for method, row in rows.items()
        }
        for layout in (AUDIOMARATHON, MMAU_PRO)
    }
    return Published(chosen, name is not None, scores)
