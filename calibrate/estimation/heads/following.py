"""How closely each KV head follows speech: AudioKV's head finding, on words whose times are known.

When a model writes a word, a head that follows the audio attends to where the word sounds. For each
word: which share of the 24 positions that the query of its first token attends to most lies in the
word's span; per query head, then the mean over those of a KV head (arXiv 2604.06694, section 3.2).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

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
#: Recordings that scores rest on unless told otherwise.
RECORDINGS = 60


@dataclass(frozen=True)
class Spoken:
    """One recording of which is known when each word of the answer sounds."""

    id: str
    samples: np.ndarray
    """float32 [n], mono at 16 kHz."""
    prompt: str
    words: tuple[tuple[str, int, int], ...]
    """Each with its first sample and the one behind its last; in the order of the answer."""
    cluster: str
    """Its speaker."""


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
            "source": "shipped digits",
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


def shipped_speech(count: int, *, seed: int = 0, seconds: float = 10.0) -> Iterator[Spoken]:
    """Yield digits said one after another in scenes of the calibration clips, report part left out.

    Args:
        count: how many.
        seed: draws them.
        seconds: length of each.
    """
    from calibrate.estimation.samples.sample import FOLDS
    from tiny_omni.clips import Bank, load_clips
    from tiny_omni.parts import parts
    from tiny_omni.questions import pose

    clips = parts(load_clips("calibration"), FOLDS)
    bank = Bank([clip for fold in range(FOLDS) for clip in clips[fold]])
    for index in range(count):
        name = f"{seed}/heads/{index}"
        scene, question, cluster = pose(bank, "digits", index, name, seconds)
        item = scene.item("digits")
        assert item is not None
        words = tuple((placed.clip.label, placed.start, placed.end) for placed in item.clips)
        yield Spoken(name, scene.samples, question.prompt, words, cluster)


def score_heads(
    loaded: Loaded, spoken: Sequence[Spoken], progress: Progress, work: Work | None = None
) -> HeadScores:
    """Score every KV head of a model.

    Args:
        loaded: the model.
        spoken: at least two recordings, of two speakers or more.
        progress: told of each recording.
        work: what its journal holds is not measured again.

    Raises:
        UsageError: fewer than two speakers, so that no error can be told.
    """
    by_cluster: dict[str, list[torch.Tensor]] = defaultdict(list)
    work = work or Work(Journal())

    def measured(recording: Spoken) -> dict[str, Any]:
        return {"hits": _hits(loaded, recording).tolist()}

    with progress.stage("following words", len(spoken)) as tick:
        records = work.each("heads", spoken, measured, tick)
    words = sum(len(record["hits"]) for record in records)
    for recording, record in zip(spoken, records, strict=True):
        hits = torch.tensor(record["hits"], dtype=torch.float64)
        by_cluster[recording.cluster].append(hits.mean(0))
    if len(by_cluster) < 2:
        raise UsageError("head scores need recordings of two speakers or more; give more of them")
    means = torch.stack([torch.stack(maps).mean(0) for maps in by_cluster.values()])
    return HeadScores(
        scores=means.mean(0).float(),
        stderr=(means.std(0) / math.sqrt(len(means))).float(),
        stability=_stability(means),
        recordings=len(spoken),
        words=words,
    )


def _hits(loaded: Loaded, spoken: Spoken) -> torch.Tensor:
    """Return the share of hits [words, layers, KV heads], float64."""
    frontend = loaded.frontend
    audio = resample(spoken.samples, SAMPLE_RATE, frontend.sample_rate)
    words = [word for word, _, _ in spoken.words]
    answer = " ".join(words)
    inputs = loaded.place(frontend.inputs([audio], spoken.prompt, answer=answer))
    ids = inputs["input_ids"][0].tolist()
    begin = len(frontend.inputs([audio], spoken.prompt)["input_ids"][0])
    low, high = torch.tensor(_spans(loaded, ids, spoken)).T[:, :, None]
    # the query that chooses a token stands before it
    queries = [begin + first - 1 for first in _first_tokens(loaded, words)]
    layers = attention_of(loaded.model, inputs, queries)
    found = []
    for given in layers:
        top = given.topk(min(TOP, given.shape[-1])).indices.cpu()  # [KV heads, G, words, K]
        inside = ((top >= low) & (top <= high)).double().mean(-1)
        found.append(inside.mean(1).T)
    return torch.stack(found, 1)


def _first_tokens(loaded: Loaded, words: Sequence[str]) -> list[int]:
    """Return where in the answer's tokens each word begins."""
    tokenizer = loaded.frontend.tokenizer
    texts = [" ".join(words[:count]) for count in range(len(words))]
    return [len(tokenizer(text)["input_ids"]) if text else 0 for text in texts]


def _spans(loaded: Loaded, ids: Sequence[int], spoken: Spoken) -> list[tuple[int, int]]:
    """Return the first and last column of each word, both of its span (equation 8 of the paper)."""
    anatomy = families.locate(loaded.model)
    columns = [column for column, token in enumerate(ids) if token in anatomy.audio_ids]
    total, rate = len(spoken.samples), anatomy.family.tokens_per_second
    # some models pad recordings to whole windows, and have audio tokens of the padding
    count = min(len(columns), round(total / SAMPLE_RATE * rate))
    return [
        (columns[start * count // total], columns[min(count - 1, end * count // total)])
        for _, start, end in spoken.words
    ]


def _stability(means: torch.Tensor) -> float | None:
    """Return how alike the maps of every other cluster are, corrected to the whole number of them.

    ``None`` where a map is the same everywhere.
    """
    halves = torch.stack([means[::2].mean(0).flatten(), means[1::2].mean(0).flatten()])
    alike = float(torch.corrcoef(halves)[0, 1])
    if math.isnan(alike):
        return None
    return 2 * alike / (1 + alike) if alike > 0 else alike
