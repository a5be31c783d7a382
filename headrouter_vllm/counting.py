"""How many audio tokens came in and how many were kept: in the log and for Prometheus."""

from __future__ import annotations

import logging
import threading
import time

from prometheus_client import Counter

log = logging.getLogger("vllm.headrouter")

#: Seconds between two lines of the log.
_PAUSE = 10.0

_TOKENS = Counter(
    "headrouter_audio_tokens",
    "Audio tokens of prompts, by what became of them: all (in) and those left (kept).",
    ["fate"],
)
_AUDIOS = Counter("headrouter_audios", "Audios of prompts.")


class Tally:
    """Counts of one process, said aloud at most every ten seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._audios = self._came = self._stayed = 0
        self._said = -_PAUSE

    def add(self, came: list[int], stayed: list[int]) -> None:
        """Count the audios of one prompt: tokens of each, before and after."""
        _AUDIOS.inc(len(came))
        _TOKENS.labels("in").inc(sum(came))
        _TOKENS.labels("kept").inc(sum(stayed))
        with self._lock:
            self._audios += len(came)
            self._came += sum(came)
            self._stayed += sum(stayed)
            if (now := time.monotonic()) - self._said < _PAUSE:
                return
            self._said = now
            said = self._audios, self._came, self._stayed
        log.info("headrouter: %d audios so far, %d audio tokens in, %d kept", *said)


TALLY = Tally()
