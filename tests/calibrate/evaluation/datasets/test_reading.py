"""Finding files and resolving references."""

import unicodedata

import pytest

from calibrate.evaluation.datasets.reading import locate, option_lines, read_json, right_choice
from headrouter_core.errors import UsageError


@pytest.mark.parametrize(
    "name",
    ["sub/ä b.wav", "./sub/ä b.wav", "sub\\ä b.wav", "/sub/ä b.wav", "sub/a\u0308 b.wav"],
)
def test_odd_names_are_found(tmp_path, name):
    (tmp_path / "wav" / "sub").mkdir(parents=True)
    file = tmp_path / "wav" / "sub" / unicodedata.normalize("NFC", "ä b.wav")
    file.touch()
    assert locate(tmp_path, name, ("", "wav")) == file
    assert locate(tmp_path, name) is None


@pytest.mark.parametrize("name", ["", ".", "x" * 5000, "nul\0.wav", "sub"])
def test_names_of_no_file(tmp_path, name):
    (tmp_path / "sub").mkdir()
    assert locate(tmp_path, name) is None


def test_first_folder_wins(tmp_path):
    for folder in ("wav", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.wav").touch()
    assert locate(tmp_path, "x.wav", ("wav", "other")) == tmp_path / "wav" / "x.wav"


@pytest.mark.parametrize(
    ("answer", "by_text", "expected"),
    [
        ("C", False, 2),
        (" c ", False, 2),
        ("(C)", False, 2),
        ("B", True, 0),
        ("B", False, 1),
        ("Young Adult (18-30)", False, 3),
        ("young adult 18-30", True, 3),
        ("Young Adult", True, None),
        ("E", False, None),
        ("", True, None),
        (None, False, None),
        (2, False, None),
    ],
)
def test_reference_answers(answer, by_text, expected):
    choices = ("B", "C", "A", "Young Adult (18-30)")
    assert right_choice(answer, choices, by_text=by_text) == expected


def test_option_lines():
    assert option_lines(["x", "y"], ")") == "A) x\nB) y"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_no_json(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="no readable JSON"):
        read_json(path)
    with pytest.raises(UsageError, match="no readable JSON"):
        read_json(tmp_path / "none.json")
