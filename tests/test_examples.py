"""Examples in the documentation run, commands in it are taken, and links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from calibrate.cli import app

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "profiles/*.md", "tiny_omni/**/*.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
)


def named(path):
    return path.relative_to(ROOT).as_posix()


#: Pages that are written by people.
PROSE = [path for path in PAGES if path.name not in ("help.md", "CHANGELOG.md")]


def blocks(path, language=r"\w*"):
    """The fenced blocks of a page, in their order."""
    fenced = rf"^```{language}\n(.*?)^```"
    return re.findall(fenced, path.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def program():
    return typer.main.get_command(app).commands


def test_python_in_the_documentation_runs(capsys):
    library = blocks(ROOT / "docs" / "library.md", "python")
    (readme,) = blocks(ROOT / "README.md", "python")
    assert len(library) >= 4
    names = {"__name__": "examples"}
    for block in [*library, readme]:
        exec(compile(block, "<documentation>", "exec"), names)
    assert names["trace"][0].kept.numel() == 120
    assert str(names["trace"][0].kept) in capsys.readouterr().out
    assert names["pruned"].trace[0].audio_tokens == 300


@pytest.mark.parametrize("page", PROSE, ids=named)
def test_commands_in_blocks_are_taken(page, program):
    text = "\n".join(blocks(page)).replace("\\\n", " ")
    for line in re.findall(r"^(?:\$ )?(headrouter .*)", text, re.MULTILINE):
        name, *arguments = shlex.split(line, comments=True)[1:]
        program[name].make_context(name, arguments)  # raises what the command line would say


@pytest.mark.parametrize("page", PROSE, ids=named)
def test_commands_in_sentences_are_known(page, program):
    for command in re.findall(r"`(headrouter [a-z][^`]*)`", page.read_text("utf-8")):
        _, name, *words = command.split()
        known = {option for given in program[name].params for option in given.opts}
        assert {word for word in words if word.startswith("-")} <= known, command


def test_nothing_is_written_as_if_it_were_published():
    for page in PAGES:
        assert not re.search(r"install [\"']?headrouter", page.read_text("utf-8")), page


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    code = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
    text = code.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        assert place.is_relative_to(ROOT), target
        assert place.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)", place.read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
            assert heading in anchors, target
