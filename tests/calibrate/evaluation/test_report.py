"""The page: whole in itself, and nothing in it is more than text."""

import json
import re
from html.parser import HTMLParser

import pytest
import soundfile
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.evaluation.comparing.results import dumps
from calibrate.evaluation.folder import Folder, write
from tests.calibrate.evaluation import made_up

HOSTILE = "<script>alert('1')</script> \"'&{{ 7 * 7 }}<img src=x onerror=alert(2)>"
#: Elements that have no end tag.
VOID = {"meta", "img", "source", "br"}
URLS = ("src", "srcset", "href", "data", "action", "poster")


class Page(HTMLParser):
    """Everything that a browser would make of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def make(path, found, timing=None, examples=None):
    folder = Folder(path)
    path.mkdir(exist_ok=True)
    write(folder.results, dumps(found.raw))
    if timing:
        folder.store(folder.timing, found.evaluation, timing)
    if examples:
        folder.sounds.mkdir(exist_ok=True)
        for number in range(len(examples["items"])):
            soundfile.write(folder.sounds / f"{number}-0.flac", made_up.sound(), 16_000)
        folder.store(folder.examples, found.evaluation, examples)
    return folder


def report(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A page of an evaluation in which every text is an attack."""
    found = made_up.results(number=4, faults=[HOSTILE])
    raw = json.loads(json.dumps(found.raw).replace("made up", json.dumps(HOSTILE)[1:-1]))
    raw["evaluation"]["model"]["id"] = HOSTILE
    for record in raw["items"]:
        record["reference"] = HOSTILE
        record["said"] = [[HOSTILE, *line[1:]] for line in record["said"]]
    found = type(found)(raw)
    examples = made_up.examples(found)
    for row in examples["items"]:
        row |= {"prompt": HOSTILE, "system": HOSTILE}
    folder = make(tmp_path_factory.mktemp("hostile"), found, made_up.timing(), examples)
    done = report(folder.path)
    assert done.exit_code == 0, done.stderr
    return folder.page.read_text("utf-8")


def test_every_text_is_text(hostile):
    page = Page(hostile)
    assert page.open == []
    assert not page.all("script")
    assert all("data:image/png;base64," in image["src"] for image in page.all("img"))
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    # model, data set, fault, prompt, system prompt, reference, answers
    assert page.text.count(HOSTILE) > 10
    assert "{{ 7 * 7 }}" in page.text


def test_nothing_is_fetched(hostile):
    page = Page(hostile)
    for _, attributes in page.elements:
        for name in URLS:
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#"))
    assert not page.all("link")
    style = hostile[hostile.index("<style>") : hostile.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    assert "script" not in policy


def test_links_inside_the_page_lead_somewhere(hostile):
    page = Page(hostile)
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert {link["href"][1:] for link in page.all("a")} <= ids


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    found = made_up.results(number=4)
    path = tmp_path_factory.mktemp("whole")
    folder = make(path, found, made_up.timing(peak=2**30), made_up.examples(found))
    done = report(path)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"Wrote {path / 'report.html'}")
    return found, folder, Page(folder.page.read_text("utf-8"))


def test_it_holds_tables_plots_and_sound(whole):
    found, _, page = whole
    # seven pictures and two examples, each light and dark
    assert len(page.all("img")) == len(page.all("source")) == 9
    sounds = [sound["src"] for sound in page.all("audio")]
    assert len(sounds) == 2
    assert all(sound.startswith("data:audio/flac;base64,") for sound in sounds)
    words = re.sub(r"[+−?=\[\],]", " ", page.text).split()  # without signs, intervals apart
    for row in found.scores.values():
        assert f"{100 * row['score']['value']:.1f}".replace("100.0", "100") in words
    for row in found.averages.values():
        assert f"{row['percent_of_vanilla']['value']:.1f}" in words
    assert "What do you hear?" in page.text
    assert "INCOMPLETE" not in page.text
    assert page.text.count("✓") + page.text.count("✗") == 2 * (1 + 4 * 2)


def test_it_can_be_read_on_a_telephone(whole):
    _, folder, page = whole
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )
    text = folder.page.read_text("utf-8")
    # whatever is wide scrolls inside its own box
    tables = len(re.findall(r"<table", text)) - len(re.findall(r'<table class="facts"', text))
    assert text.count('<div class="wide"') == tables + len(page.all("img"))
    assert "prefers-color-scheme: dark" in text


def test_without_timing_and_examples(tmp_path):
    found = made_up.results(("frame",), (0.9,), ("event",), number=2)
    make(tmp_path, found)
    done = report(tmp_path, "--output", tmp_path / "page.html")
    assert done.exit_code == 0, done.stderr
    page = Page((tmp_path / "page.html").read_text("utf-8"))
    assert not page.all("audio")
    assert len(page.all("img")) == 3


def test_what_belongs_to_other_results_is_left_out(tmp_path):
    found = made_up.results(number=2)
    folder = make(tmp_path, found)
    other = {**found.evaluation, "seed": 1}
    folder.store(folder.timing, other, made_up.timing())
    assert report(tmp_path).exit_code == 0
    assert "prefill ms" not in folder.page.read_text("utf-8")


def test_what_cannot_be_reported(tmp_path):
    done = report(tmp_path / "none")
    assert done.exit_code == 2
    assert "is no folder" in done.stderr
    done = report(tmp_path)
    assert done.exit_code == 2
    assert "results.json: no such file" in done.stderr
    found = made_up.results(("frame",), (0.9,), ("event",), number=2)
    folder = make(tmp_path, found)
    folder.page.write_text("mine")
    done = report(tmp_path)
    assert done.exit_code == 2
    assert folder.page.read_text() == "mine"
    assert report(tmp_path, "--force").exit_code == 0
    assert folder.page.read_text() != "mine"
    done = report(tmp_path, "--output", folder.results, "--force")
    assert done.exit_code == 2
    for damage in ("{", "[" * 100_000):
        folder.timing.write_text(damage)
        done = report(tmp_path, "--force")
        assert done.exit_code == 1
        assert "timing.json cannot be read" in done.stderr
