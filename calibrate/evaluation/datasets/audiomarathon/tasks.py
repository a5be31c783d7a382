"""AudioMarathon's tasks: where they lie, which fields count, what the assistant is told to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calibrate.evaluation.datasets.audiomarathon import prompts
from calibrate.evaluation.datasets.audiomarathon.prompts import IDENTITY, Ask

__all__ = ["IDENTITY", "TASKS", "Spec"]


@dataclass(frozen=True)
class Spec:
    """One task of the benchmark."""

    group: str
    """As in HeadRouter 4.1; SD, which it leaves out, is about how a recording sounds."""
    folder: str
    """Annotations lie here, under the root."""
    expected: int
    """Number of samples by the data set's card."""
    role: str
    """The sentence that says what the assistant is for."""
    ask: Ask
    annotations: tuple[str, ...] = ()
    """Names that the annotation file goes by; none where the folders themselves say it all."""
    audio: tuple[str, ...] = ("",)
    """Folders under ``folder`` where the audio may lie."""
    role_in: str = "user"
    """``user``: before the question; ``system``: instead of the identity; ``both``: behind it."""
    needs_question: bool = True
    choices: tuple[str, ...] = ()
    """Where the prompt fixes them, whatever the records say."""
    by_text: bool = False
    """The reference is an option's text, and the texts are the classes of F1; else letters are."""
    cluster: str = ""
    """Field that names the speaker or article; the audio file where there is none."""
    max_new_tokens: int = 5
    excluded: Callable[[Mapping[str, Any]], str] = lambda record: ""
    """Why the benchmark leaves a record out, if it does."""

    def texts(
        self, question: str, choices: Sequence[str], identity: str | None
    ) -> tuple[str, str | None]:
        """Return the user's and the system's text."""
        asked = self.ask(question, choices)
        if self.role_in == "user":
            return f"{self.role}\n\n{asked}", identity
        if self.role_in == "both" and identity:
            return asked, f"{identity} {self.role}"
        return asked, self.role


def _happy_of_two(record: Mapping[str, Any]) -> str:
    person, emotion = str(record.get("person_id", "")), str(record.get("emotion_label", ""))
    if person.strip() in ("2", "10") and emotion.strip().lower() == "happy":
        return "the benchmark leaves out happy recordings of persons 2 and 10"
    return ""


TASKS: dict[str, Spec] = {
    "SER": Spec(
        group="semantic",
        folder="SLUE",
        expected=490,
        role="You are a helpful assistant that analyzes speech audio for named entity recognition. "
        "Please listen carefully and extract the requested named entities from the speech.",
        ask=prompts.reply,
        annotations=("merged_audio_data.json",),
    ),
    "SCR": Spec(
        group="semantic",
        folder="race_audio",
        expected=820,
        role="You are a helpful assistant that analyzes reading comprehension passages with audio "
        "narration. Please listen to the passage and answer the multiple-choice question based on "
        "what you heard.",
        ask=prompts.instructed(prompts.PASSAGE),
        annotations=("race_benchmark.json",),
        cluster="article_id",
    ),
    "ASR": Spec(
        group="semantic",
        folder="librispeech-long/test-clean",
        expected=204,
        role="You are a helpful assistant that transcribes speech audio. Please listen carefully "
        "and provide the exact transcription of what is spoken in the audio.",
        ask=prompts.always(prompts.TRANSCRIBE),
        needs_question=False,
        max_new_tokens=1100,
    ),
    "SED": Spec(
        group="acoustic",
        folder="DESED/DESED_dataset/concatenated_audio",
        expected=254,
        role="You are a helpful assistant that analyzes audio to detect and classify sound events. "
        "Please listen carefully and select the most appropriate answer from the given choices.",
        ask=prompts.reply,
        annotations=("desed_sound_event_detection_task.json",),
        role_in="system",
    ),
    "MC": Spec(
        group="acoustic",
        folder="GTZAN/concatenated_audio",
        expected=120,
        role="You are a helpful audio analysis assistant.",
        ask=prompts.instructed(prompts.GENRE),
        annotations=("music_genre_classification_meta.json",),
        audio=("wav", ""),
        role_in="both",
    ),
    "ASC": Spec(
        group="acoustic",
        folder="TAU/concatenated_resampled",
        expected=1145,
        role="You are a helpful assistant that analyzes urban soundscape audio to identify "
        "acoustic scenes. Please listen to the audio carefully and classify the scene type.",
        ask=prompts.scene,
        annotations=("acoustic_scene_task_meta.json",),
        needs_question=False,
    ),
    "ER": Spec(
        group="acoustic",
        folder="VESUS",
        expected=185,
        role="You are a helpful assistant that analyzes speech audio to recognize emotions. Please "
        "listen to the voice carefully and identify the emotional state of the speaker.",
        ask=prompts.select("A, B, C, or D"),
        annotations=("audio_emotion_dataset.json", "audio_emotion_dataset_filtered.json"),
        cluster="person_id",
        max_new_tokens=10,
        excluded=_happy_of_two,
    ),
    "SD": Spec(
        group="acoustic",
        folder="HAD/concatenated_audio",
        expected=776,
        role="You are a helpful assistant that analyzes audio to determine authenticity.",
        ask=prompts.always(prompts.REAL_OR_FAKE),
        role_in="system",
        needs_question=False,
        choices=("real", "fake"),
        by_text=True,
    ),
    "SAR": Spec(
        group="acoustic",
        folder="VoxCeleb/concatenated_audio",
        expected=959,
        role="You are a helpful assistant that analyzes speech audio to estimate speaker age. "
        "Please listen to the voice carefully and classify the speaker's age group.",
        ask=prompts.select("A, B, C, D, or E"),
        annotations=("age_classification_task_meta.json",),
        audio=("wav", ""),
        by_text=True,
        cluster="speaker_id_original",
    ),
    "SGR": Spec(
        group="acoustic",
        folder="VoxCeleb/concatenated_audio",
        expected=1614,
        role="You are a helpful assistant that analyzes speech audio to classify speaker gender. "
        "Please listen to the voice carefully and determine the speaker's gender.",
        ask=prompts.always(prompts.MALE_OR_FEMALE),
        annotations=("gender_id_task_meta.json",),
        audio=("wav", ""),
        needs_question=False,
        choices=("male", "female"),
        by_text=True,
        cluster="speaker_id_original",
    ),
}
