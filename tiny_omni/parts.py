"""Disjoint parts of the calibration clips: folds to estimate on, and a part for the report.

A speaker, or where the source names none an original recording, is in one part only. Where there
are fewer of them than folds, some folds go without: the German corpus has two calibration speakers,
one for the report and one for a single fold.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict

from tiny_omni.clips import Clip

#: Kinds whose clips are told apart by speaker; the others are balanced label by label.
_BY_SPEAKER = ("digit", "german", "english")


def parts(clips: list[Clip], folds: int, report: float = 1 / 3) -> dict[int, list[Clip]]:
    """Fold number -> clips; fold -1 is the report part. Depends on the file names alone."""
    strata: dict[tuple[str, str], dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        by_speaker = clip.kind in _BY_SPEAKER
        named = clip.speaker if by_speaker else clip.source
        if named is None:
            raise ValueError(f"{clip.file}: a {clip.kind} clip has to name its speaker")
        stratum = (clip.kind, "" if clip.kind == "german" else str(clip.gender))
        stratum = stratum if by_speaker else (clip.kind, clip.label)
        strata[stratum][named].append(clip)
    result: dict[int, list[Clip]] = {fold: [] for fold in (-1, *range(folds))}
    for (kind, _), clusters in sorted(strata.items()):
        names = sorted(clusters, key=_digest)
        held = max(1, round(len(names) * report)) if len(names) > 1 else 0
        for name in names[:held]:
            result[-1] += clusters[name]
        rest = names[held:]
        for index, name in enumerate(rest):
            few = len(rest) < folds
            result[_emptiest(result, folds, kind) if few else index % folds] += clusters[name]
    return result


def _emptiest(result: dict[int, list[Clip]], folds: int, kind: str) -> int:
    """The fold that has fewest clips of a kind, of equal ones the first."""
    return min(range(folds), key=lambda fold: sum(clip.kind == kind for clip in result[fold]))


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
