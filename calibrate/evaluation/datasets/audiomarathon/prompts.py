"""How AudioMarathon's Qwen2.5-Omni scripts ask, word for word.

Source: github.com/DabDans/AudioMarathon, ``src/Qwen_2.5_Omni/Others/*_qwen2.5.py``, the scripts of
base, random and Frame (those of DART ask differently).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from calibrate.evaluation.datasets.reading import option_lines

#: Question and choices of a record -> the user's text, without the role.
Ask = Callable[[str, Sequence[str]], str]

#: The system text that the scripts give the model in most tasks: Qwen2.5-Omni's own.
IDENTITY = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of "
    "perceiving auditory and visual inputs, as well as generating text and speech."
)
TRANSCRIBE = (
    "Transcribe this audio accurately. Remove hesitation words like 'um', 'uh'. Your response "
    "should be formatted as follows: Spoken Content: <transcribed text here>"
)
REAL_OR_FAKE = (
    "Listen to this audio clip carefully. Is this audio completely authentic (real) or does it "
    "contain any artificially synthesized segments (fake)? If it is completely real, answer 'a'. "
    "If it contains any fake segments, answer 'b'. Answer with only 'a' or 'b'."
)
MALE_OR_FEMALE = (
    "Listen to this audio and identify the speaker's gender. Is this a male or female voice? If it "
    "is a male, answer 'a'. If it is a female, answer 'b'. Answer with only 'a' or 'b'."
)
PASSAGE = (
    "Listen to this audio of a passage being read aloud, then answer the multiple-choice question "
    "based solely on the information from the audio."
)
GENRE = "Listen to this audio segment and identify the music genre based on what you hear."


def reply(question: str, choices: Sequence[str]) -> str:
    """SER and SED."""
    return (
        f"{question}\n\n{option_lines(choices, '.')}\n\nPlease listen to the audio and select the "
        "correct answer. Reply with only the letter (A, B, C, or D)."
    )


def instructed(instruction: str) -> Ask:
    """SCR and MC."""

    def ask(question: str, choices: Sequence[str]) -> str:
        return (
            f"{instruction}\n\nQuestion: {question}\n\nOptions:\n{option_lines(choices, '.')}\n\n"
            "Respond with only the letter of the correct option (A, B, C, or D)."
        )

    return ask


def select(letters: str) -> Ask:
    """ER and SAR."""

    def ask(question: str, choices: Sequence[str]) -> str:
        options = option_lines(choices, ")")
        return f"{question}\n\n{options}\n\nPlease select the correct answer ({letters})."

    return ask


def scene(_: str, choices: Sequence[str]) -> str:
    """ASC; its records have a question, which the script does not use."""
    return (
        "Listen to this audio and identify the acoustic scene. Choose the most appropriate option."
        f"\n{option_lines(choices, ':')}\n"
        "Respond with only the letter of your answer (A, B, C, or D)."
    )


def always(text: str) -> Ask:
    """ASR, SD and SGR: the same text whatever the record."""
    return lambda question, choices: text
