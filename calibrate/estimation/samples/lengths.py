"""Reference answers that are too long for a model: refused before they cost minutes and memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from calibrate.models.named import Loaded
from headrouter_core.errors import UsageError

#: Tokens of the longest answer that a calibration is made on: those of a long transcript.
LONGEST = 1100


def check_answers(loaded: Loaded, answers: Iterable[tuple[str, str, int | None]]) -> None:
    """Raise for the first answer that is longer than any that the model may give.

    Args:
        loaded: the model.
        answers: file and line (or another name), an answer, and how many tokens the model's own may
            have; ``None``: as many as its context holds.

    Raises:
        UsageError: naming file and line.
    """
    config = loaded.model.config.get_text_config()
    context = getattr(config, "max_position_embeddings", sys.maxsize)
    for where, text, allowed in answers:
        most = min(context, allowed or context)
        # a token is at least a byte: short answers, which nearly all are, need no counting
        if len(text.encode()) < most:
            continue
        tokens = len(loaded.frontend.answer_ids(text))
        if tokens > most:
            raise UsageError(
                f"{where}: the answer is {tokens} tokens long, and what {loaded.name} is let say of"
                f" its kind has at most {most}; shorten it"
            )
