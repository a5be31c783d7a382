"""The parser on plain and on nasty answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrate.evaluation.scoring.answers import parse, parse_choice, parse_label, parse_transcript
from calibrate.evaluation.scoring.items import CHOICE, JUDGED, LABEL, TRANSCRIPT, Item

CHOICES = ("a cat meows", "a bird sings", "a dog barks", "Urban park - park")


def item(kind, **changes):
    given = {
        "id": "x",
        "task": "t",
        "group": "acoustic",
        "prompt": "?",
        "kind": kind,
        "reference": "A",
        "cluster": "c",
        "audios": (lambda: None,),
    }
    return Item(**{**given, **changes})


@pytest.mark.parametrize(
    "answer",
    [
        "C",
        "c",
        " c \n",
        "C.",
        "(C)",
        "(c).",
        "[C]",
        "C)",
        "**C**",
        "'c'",
        '"C".',
        "Ｃ",
        "THE ANSWER IS C",
        "The correct answer is: C.",
        "My final answer is option C",
        "Answer: c",
        "answer:C",
        "Option C",
        "Option C is correct.",
        "C is the correct answer",
        "C because the dog is near",
        "The answer is C, since a dog is heard.",
        "a dog barks",
        "A DOG BARKS!",
        "The answer is a dog barks.",
        "C. a dog barks",
        "(C) A dog barks.",
        "C: a dog barks",
        "C - a dog barks",
        "The answer is C) a dog barks",
        "C. a dog ba",
        "C. A man walks his dog and it barks.",
        "C\nThe recording has a dog in it.",
        "C. a dog\nbarks",
    ],
)
def test_clear_answers(answer):
    assert parse_choice(answer, CHOICES) == 2


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n ",
        "...",
        "a dog",
        "a dog barks twice",
        "a fish swims",
        "A dog is what I hear",
        "THE ANSWER IS A DOG",
        "A or B",
        "A, B",
        "AB",
        "A and C",
        "A B",
        "A/B",
        "(A) (B)",
        "A. B.",
        "a. or b.",
        "A\nB",
        "Either (a) or (b)",
        "C. Or is it (b)?",
        "B. a dog barks",
        "a dog barks\nB. a bird sings",
        "E",
        "(E)",
        "Z. a dog barks",
        "e.g. C",
        "D major",
        "Dog",
        "the answer",
        "Answer:",
        "I cannot hear any answer",
        "Because",
        "Urban park",
        "1",
        "不知道",
        "İ",
        "ı.",
        "(К)",
    ],
)
def test_unclear_answers(answer):
    assert parse_choice(answer, CHOICES) is None


def test_letters_go_before_texts_that_are_letters():
    keys = ("C", "A", "B minor", "C. elegans")
    assert parse_choice("A", keys) == 0
    assert parse_choice("(A).", keys) == 0
    assert parse_choice("B minor", keys) == 2
    assert parse_choice("C. elegans", keys) == 3


def test_choices_of_one_sign_that_is_no_letter():
    assert parse_choice("4", ("3", "4")) == 1
    assert parse_choice("The answer is 4.", ("3", "4")) == 1


def test_signs_tell_choices_apart_and_shared_texts_are_no_answer():
    assert parse_choice("C# minor", ("C minor", "C# minor")) == 1
    assert parse_choice("rain", ("rain", "Rain.", "wind")) is None
    assert parse_choice("B", ("rain", "Rain.", "wind")) == 1


def test_a_choice_that_begins_like_a_lead():
    assert parse_choice("The answer is no", ("yes", "the answer is no")) == 1


@given(st.text(max_size=60))
def test_any_text_gives_a_choice_or_none(text):
    assert parse_choice(text, CHOICES) in (None, 0, 1, 2, 3)


@given(st.integers(0, 3), st.sampled_from(["{}", "({})", "{}.", "Answer: {}", "{}. {text}"]))
def test_every_letter_in_every_form(index, form):
    answer = form.format("ABCD"[index], text=CHOICES[index])
    assert parse_choice(answer, CHOICES) == index


@pytest.mark.parametrize("answer", ["hi-hat", "Hi-Hat.", " 'hi-hat' ", "HI-HAT\n"])
def test_label_is_the_whole_answer(answer):
    assert parse_label(answer, ("flute", "hi-hat")) == 1


@pytest.mark.parametrize("answer", ["", "hat", "a hi-hat", "flute hi-hat", "hi hat", "B"])
def test_label_that_is_not(answer):
    assert parse_label(answer, ("flute", "hi-hat")) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Spoken Content: Hello, World!", "hello world"),
        ("Sure! Here it is.\nspoken content : it's well-known", "its wellknown"),
        ("Spoken Content: <transcribed text here>", None),
        ("Transcript: one two", "one two"),
        ("The transcript: one two", "the transcript one two"),
        ("one two", "one two"),
        ("", None),
        (" ... ", None),
    ],
)
def test_transcript(answer, expected):
    assert parse_transcript(answer) == expected


def test_parse_gives_labels():
    choice = item(CHOICE, choices=("Male", "Female"), labels=("male", "female"), reference="male")
    assert parse(choice, "(b)") == "female"
    assert parse(choice, "Male or female") is None
    label = item(LABEL, choices=("sad", "happy"), labels=("sad", "happy"), reference="sad")
    assert parse(label, "Happy.") == "happy"
    assert parse(item(TRANSCRIPT, reference="one"), "ONE!") == "one"
    with pytest.raises(ValueError, match="export it"):
        parse(item(JUDGED), "anything")
