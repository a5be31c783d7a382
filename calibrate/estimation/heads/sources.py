"""What ``calibrate --heads`` hears: shipped digits, a manifest, or recordings and a question."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from calibrate.estimation.heads.spoken import Spoken, shipped_speech
from calibrate.estimation.heads.timed import words_of
from calibrate.estimation.samples.manifests import Entry, read_manifest
from calibrate.estimation.samples.questions import listed
from calibrate.models.asking import answer
from calibrate.models.named import Loaded
from calibrate.running.work import Work
from calibrate.sound.reading import SAMPLE_RATE, load_audio, resample
from calibrate.terminal.console import say
from calibrate.terminal.errors import AudioError
from calibrate.terminal.progress import Progress
from headrouter_core.errors import UsageError

#: What ``kind`` says of a line whose prompt asks for what is said.
TRANSCRIPT = "transcript"
#: Recordings that scores rest on unless told otherwise.
RECORDINGS = 60
#: Tokens of the longest answer that is aligned with its recording.
LONGEST_ANSWER = 256


def speech(
    data: Path | None, questions: Path | None, limit: int | None, seed: int
) -> tuple[list[Spoken], str]:
    """Return what is heard, and where it comes from, in a word or two.

    Args:
        data: a manifest, of which lines with word times count, or, where there are none, those of
            ``kind`` ``transcript``; a folder of recordings, with ``questions``; or ``None``.
        questions: a file whose one question has a recording written down.
        limit: how many recordings; :data:`RECORDINGS` unless given.
        seed: draws them.

    Raises:
        UsageError: naming file and line where there is one: nothing to hear, or times that are
            none.
    """
    count = RECORDINGS if limit is None else limit
    if data is None:
        return list(shipped_speech(count, seed=seed)), "shipped digits"
    if questions is not None:
        asked = [
            Spoken(sample.id, sample.read, sample.prompt, sample.cluster, where=sample.where)
            for sample in listed(data, questions)
        ]
        return _drawn(asked, count, seed), "own answers"
    entries = read_manifest(data)
    timed = [
        replace(_spoken(entry), words=words) for entry in entries if (words := words_of(entry))
    ]
    if timed:
        return _drawn(timed, count, seed), "manifest"
    spoken = [_spoken(entry) for entry in entries if entry.scoring.get("kind") == TRANSCRIPT]
    if not spoken:
        raise UsageError(
            f"{data}: no line says when its words sound, nor that it is a transcript; add words"
            ' ("words": [{"word": "hello", "start": 0.1, "end": 0.4}, ...], as WhisperX and others'
            ' write them), or mark the lines whose prompt asks for what is said: "kind":'
            ' "transcript"'
        )
    return _drawn(spoken, count, seed), "own answers"


def _spoken(entry: Entry) -> Spoken:
    if not os.path.isfile(entry.path):
        raise UsageError(f"{entry.where}: no such audio file: {entry.path}")
    read = functools.partial(load_audio, entry.path, offset=entry.offset, duration=entry.duration)
    return Spoken(entry.id, read, entry.prompt, entry.cluster, entry.answer, where=entry.where)


def _drawn(spoken: list[Spoken], count: int, seed: int) -> list[Spoken]:
    """Draw recordings, speakers in turn, so that few of them are of as many as there are."""
    random.Random(f"{seed}/heads").shuffle(spoken)
    turns: dict[str, int] = {}
    order = []
    for recording in spoken:
        turns[recording.cluster] = turns.get(recording.cluster, 0) + 1
        order.append(turns[recording.cluster])
    ranked = sorted(range(len(spoken)), key=lambda index: order[index])
    return [spoken[index] for index in ranked[:count]]


def answered(
    loaded: Loaded, spoken: Sequence[Spoken], progress: Progress, work: Work
) -> tuple[list[Spoken], dict[str, str]]:
    """Return recordings with an answer to follow: given with times, or the model's own.

    Returns:
        Those that can be used; and why not, by file and line, for the others: they cannot be read
        or heard, or the answer has one word or none.
    """
    said = functools.partial(_said, loaded)
    unknown = [recording for recording in spoken if not recording.words]
    with progress.stage("answers", len(unknown)) as tick:
        answers = work.each("answers", unknown, said, tick)
    records = dict(zip((recording.id for recording in unknown), answers, strict=True))
    found, unheard = [], {}
    for recording in spoken:
        record = records.get(recording.id) or said(recording)
        if "fault" in record:
            say(record["fault"], "error")
            unheard[recording.where] = record["fault"]
        else:
            found.append(replace(recording, answer=record["said"]))
    return found, unheard


def _said(loaded: Loaded, recording: Spoken) -> dict[str, str]:
    """Return what is said in a recording, or why that is not known."""
    frontend = loaded.frontend
    try:
        samples = recording.read(max_seconds=frontend.max_seconds)
        audio = resample(samples, SAMPLE_RATE, frontend.sample_rate)
        frontend.check_audio(audio)
        if recording.words:
            return {"said": recording.answer}
        inputs = loaded.place(frontend.inputs([audio], recording.prompt))
        said = answer(loaded, inputs, LONGEST_ANSWER).text
        if len(said.split()) < 2:
            raise AudioError(f"{recording.where}: the model says {said!r} of it, not two words")
    except AudioError as error:
        return {"fault": str(error)}
    return {"said": said}
