"""Granite Speech Plus: the inputs of Granite Speech."""

from __future__ import annotations

from typing import ClassVar

from calibrate.models.frontends.granite_speech import GraniteSpeechFrontEnd


class GraniteSpeechPlusFrontEnd(GraniteSpeechFrontEnd):
    """Front end of Granite Speech Plus."""

    model_class: ClassVar[str] = "GraniteSpeechPlusForConditionalGeneration"


FRONT_END = GraniteSpeechPlusFrontEnd
