"""Music Flamingo: Audio Flamingo 3's inputs, with markers."""

from __future__ import annotations

from typing import ClassVar

from calibrate.models.frontends.audioflamingo3 import AudioFlamingo3FrontEnd


class MusicFlamingoFrontEnd(AudioFlamingo3FrontEnd):
    """Front end of Music Flamingo."""

    model_class: ClassVar[str] = "MusicFlamingoForConditionalGeneration"
    processor_class: ClassVar[str] = "MusicFlamingoProcessor"


FRONT_END = MusicFlamingoFrontEnd
