"""``headrouter prune --page``: one file with the sound, its picture and the kept tokens."""

import base64
import hashlib
import io
import itertools
import re

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.models import asking
from calibrate.pruning.page import ogg_opus
from calibrate.sound.timeline import marks

HOSTILE = "<script>alert(1)</script>\"'& {{ 7 * 7 }}"


@pytest.fixture
def run(monkeypatch, thinker, profile_file):
    monkeypatch.setattr(asking, "RUNS", 1)

    def invoke(*arguments):
        options = ["--model", thinker, "--profile", profile_file, "--max-new-tokens", 4]
        return CliRunner().invoke(app, [str(part) for part in ("prune", *options, *arguments)])

    return invoke


def test_it_holds_all_it_shows(run, recordings, tmp_path):
    path = tmp_path / "talk.html"
    done = run(recordings["wav"], "--page", path, "--question", "Which digits are spoken?")
    assert done.exit_code == 0, done.stderr
    assert re.search(rf"wrote {path} \(\d+\.\d MB\)", done.stderr)
    text = path.read_text("utf-8")
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:|//|/)""", text)
    assert "Which digits are spoken?" in text
    assert "prefers-color-scheme: dark" in text
    (sound,) = re.findall(r'<audio [^>]*src="data:audio/ogg;base64,([^"]+)"', text)
    with av.open(io.BytesIO(base64.b64decode(sound))) as container:
        assert container.streams.audio[0].codec_context.name in ("opus", "libopus")
    (picture,) = re.findall(r'<img src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(picture).startswith(b"\x89PNG")


def test_kept_tokens_are_those_that_are_never_covered(run, recordings, tmp_path):
    path = tmp_path / "talk.html"
    assert run(recordings["wav"], "--page", path).exit_code == 0
    text = path.read_text("utf-8")
    (kept,) = re.findall(r'data-kept="([^"]+)"', text)
    (tokens,) = re.findall(r'data-tokens="(\d+)"', text)
    covered = [
        range(int(begin), int(end)) for begin, end in re.findall(r"M(\d+) 0H(\d+)V1H\d+z", text)
    ]
    both = sorted([*map(int, kept.split()), *itertools.chain.from_iterable(covered)])
    assert both == list(range(int(tokens)))
    assert len(kept.split()) == 30


def test_the_one_script_is_the_one_that_the_policy_lets_run(run, recordings, tmp_path):
    path = tmp_path / "talk.html"
    assert run(recordings["wav"], "--page", path).exit_code == 0
    text = path.read_text("utf-8")
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_names_questions_and_answers_are_data(run, recordings, tmp_path, monkeypatch):
    odd = tmp_path / "<script>alert(1)<|script> & \"'.wav"
    odd.write_bytes(recordings["wav"].read_bytes())
    told = asking.Answer

    def answered(text, complete):
        return told(HOSTILE, True)

    monkeypatch.setattr(asking, "Answer", answered)
    path = tmp_path / "talk.html"
    done = run(odd, "--page", path, "--question", HOSTILE)
    assert done.exit_code == 0, done.stderr
    text = path.read_text("utf-8")
    assert len(re.findall("<script", text)) == 1
    assert "alert(1)" in text
    assert text.count("{{ 7 * 7 }}") == 2  # the question and the answer; the other is the same
    assert "49" not in re.sub('base64,[^"]+', "", text).split("<audio")[0].split("<body>")[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--page", "a.txt"], "name that ends in .html"),
        (["--page", "a.html", "--output", "a.html"], "a.html is given twice"),
        (["--page", "no/such/a.html"], "is not a folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    run, recordings, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    done = run(recordings["wav"], *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert list(tmp_path.glob("a.*")) == []


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 48_000])
def test_the_sound_is_whole_and_small(rate):
    seconds = 10.37
    time = np.arange(round(seconds * rate)) / rate
    samples = np.sin(2 * np.pi * 440 * time, dtype=np.float32) * 0.5
    content = ogg_opus(samples, rate)
    assert len(content) < 10_000 * seconds
    with av.open(io.BytesIO(content)) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert abs(len(heard) / 48_000 - seconds) < 0.03
    spectrum = np.abs(np.fft.rfft(heard[48_000:96_000]))
    assert abs(int(spectrum.argmax()) - 440) <= 1


@pytest.mark.parametrize("seconds", [0.05, 0.9, 12.0, 61.0, 3600.0, 20_000.0])
def test_marks_are_few_and_inside(seconds):
    found = marks(seconds)
    assert 1 <= len(found) <= 12
    assert found[0] == 0
    assert found[-1] <= seconds
