"""How closely each KV head follows speech: AudioKV's head finding.

When a model writes a word, a head that follows the audio attends to where the word sounds. For each
word: which share of the 24 positions that the query of its first token attends to most lies in the
word's span; per query head, then the mean over those of a KV head (arXiv 2604.06694, section 3.2).
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calibrate.estimation.heads.aligning import consensus, stretches
from calibrate.estimation.heads.spoken import Spoken
from calibrate.models.frontends.base import FrontEnd
from calibrate.models.named import Loaded
from calibrate.running.journal import Journal
from calibrate.running.work import Work
from calibrate.sound.reading import SAMPLE_RATE, resample
from calibrate.terminal.progress import Progress
from headrouter_core import families
from headrouter_core.errors import UsageError
from headrouter_core.eviction.observing import attention_of
from headrouter_core.profile.profile import Profile

#: K of the paper: most attended positions of a query that are looked at.
TOP = 24


@dataclass(frozen=True, eq=False)
class HeadScores:
    """What KV heads are worth for following speech."""

    scores: torch.Tensor
    """float32 [layers, KV heads]: mean over clusters, in [0, 1]."""
    stderr: torch.Tensor
    """float32 [layers, KV heads]: of that mean."""
    stability: float | None
    """Spearman-Brown corrected correlation of the maps of two halves of the clusters."""
    recordings: int
    words: int
    source: str
    """Where the recordings and the times of their words come from."""

    def into(self, profile: Profile) -> Profile:
        """Return the profile with these in it."""
        if tuple(self.scores.shape) != (profile.model.layers, profile.model.kv_heads):
            raise UsageError(
                f"the heads of {list(self.scores.shape)} layers and KV heads are not those of the"
                f" profile of {profile.model.id}; name its model"
            )
        record = {
            "top": TOP,
            "recordings": self.recordings,
            "words": self.words,
            "stability": self.stability,
            "source": self.source,
        }
        return Profile(
            tensors={
                **profile.tensors,
                "cache.heads": self.scores,
                "cache.heads_stderr": self.stderr,
            },
            model=profile.model,
            recipe=profile.recipe,
            calibration={**profile.calibration, "heads": record},
            versions=profile.versions,
            results=profile.results,
            version=profile.version,
        )


def score_heads(
    loaded: Loaded,
    spoken: Sequence[Spoken],
    progress: Progress,
    source: str,
    work: Work | None = None,
) -> HeadScores:
    """Score every KV head of a model.

    Recordings whose words have no times are aligned with their answers, twice: first by all heads
    alike, then by each as far as it followed the speech that the first time found.

    Args:
        loaded: the model.
        spoken: at least two recordings with answers, of two speakers or more.
        progress: told of each recording.
        source: where they come from, for the record.
        work: what its journal holds is not measured again.

    Raises:
        AudioError: a recording cannot be read, or is longer than the model takes.
        UsageError: fewer than two speakers, so that no error can be told.
    """
    if len({recording.cluster for recording in spoken}) < 2:
        raise UsageError("head scores need recordings of two speakers or more; give more of them")
    work = work or Work(Journal())
    trust: torch.Tensor | None = None

    def measured(recording: Spoken) -> dict[str, Any]:
        return {"hits": _hits(loaded, recording, trust).tolist()}

    stages = {"following words": "heads"}
    if any(not recording.words for recording in spoken):
        stages = {"aligning words": "aligning", **stages}
    for shown, stage in stages.items():
        with progress.stage(shown, len(spoken)) as tick:
            records = work.each(stage, spoken, measured, tick)
        words = sum(len(record["hits"]) for record in records)
        by_cluster: dict[str, list[torch.Tensor]] = defaultdict(list)
        for recording, record in zip(spoken, records, strict=True):
            hits = torch.tensor(record["hits"], dtype=torch.float64)
            by_cluster[recording.cluster].append(hits.mean(0))
        means = torch.stack([torch.stack(maps).mean(0) for maps in by_cluster.values()])
        trust = means.mean(0)
    return HeadScores(
        scores=means.mean(0).float(),
        stderr=(means.std(0) / math.sqrt(len(means))).float(),
        stability=_stability(means),
        recordings=len(spoken),
        words=words,
        source=source,
    )


def _hits(loaded: Loaded, spoken: Spoken, trust: torch.Tensor | None) -> torch.Tensor:
    """Return the share of hits [words, layers, KV heads], float64.

    Args:
        loaded: the model.
        spoken: the recording and its answer.
        trust: how far each head is trusted where words have to be found, [layers, KV heads]; all
            alike unless given.
    """
    frontend = loaded.frontend
    samples = spoken.read(max_seconds=frontend.max_seconds)
    audio = resample(samples, SAMPLE_RATE, frontend.sample_rate)
    inputs = loaded.place(frontend.inputs([audio], spoken.prompt, answer=spoken.answer))
    begin = len(frontend.inputs([audio], spoken.prompt)["input_ids"][0])
    columns = _columns(loaded, inputs["input_ids"][0].tolist(), len(samples) / SAMPLE_RATE)
    begins = [word.begin for word in spoken.words] or beginnings(spoken.answer)
    # the query that chooses a token stands before it
    queries = [begin + first - 1 for first in _first_tokens(frontend, spoken.answer, begins)]
    layers = attention_of(loaded.model, inputs, queries)
    if spoken.words:
        spans = _spans(columns, len(samples) / SAMPLE_RATE, spoken)
    else:
        trust = torch.ones(len(layers), len(layers[0])) if trust is None else trust
        heard = [given[..., columns].cpu() for given in layers]
        spans = [(columns[a], columns[b]) for a, b in stretches(consensus(heard, trust))]
    low, high = torch.tensor(spans).T[:, :, None]
    found = []
    for given in layers:
        top = given.topk(min(TOP, given.shape[-1])).indices.cpu()  # [KV heads, G, words, K]
        inside = ((top >= low) & (top <= high)).double().mean(-1)
        found.append(inside.mean(1).T)
    return torch.stack(found, 1)


def beginnings(answer: str) -> list[int]:
    """Return where the words of an answer begin, in characters."""
    return [match.start() for match in re.finditer(r"\S+", answer)]


def _first_tokens(frontend: FrontEnd, answer: str, begins: Sequence[int]) -> list[int]:
    """Return where in the answer's tokens each word begins."""
    return [len(frontend.answer_ids(answer[:begin].rstrip())) - 1 for begin in begins]


def _columns(loaded: Loaded, ids: Sequence[int], seconds: float) -> list[int]:
    """Return the columns of the audio tokens that hear the recording.

    Some models pad recordings to whole windows, and have audio tokens of the padding.
    """
    anatomy = families.locate(loaded.model)
    columns = [column for column, token in enumerate(ids) if token in anatomy.audio_ids]
    return columns[: max(1, round(seconds * anatomy.family.tokens_per_second))]


def _spans(columns: Sequence[int], seconds: float, spoken: Spoken) -> list[tuple[int, int]]:
    """Return the first and last column of each word, both of its span (equation 8 of the paper).

    Raises:
        UsageError: a word sounds behind the end of the recording.
    """
    found, count = [], len(columns)
    for word in spoken.words:
        if word.start >= seconds:
            raise UsageError(
                f"{spoken.where}: a word begins at {word.start:g} s, and the recording is"
                f" {seconds:.2f} s long; times are seconds from the beginning of the audio file"
            )
        first, last = (math.floor(time / seconds * count) for time in (word.start, word.end))
        found.append((columns[min(count - 1, first)], columns[min(count - 1, last)]))
    return found


def _stability(means: torch.Tensor) -> float | None:
    """Return how alike the maps of every other cluster are, corrected to the whole number of them.

    ``None`` where a map is the same everywhere.
    """
    halves = torch.stack([means[::2].mean(0).flatten(), means[1::2].mean(0).flatten()])
    alike = float(torch.corrcoef(halves)[0, 1])
    if math.isnan(alike):
        return None
    return 2 * alike / (1 + alike) if alike > 0 else alike
