"""Where recordings come from: files and pipes; and what is none of them."""

import io
import os
import sys
import threading
import types
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from calibrate.sound.files import sources
from calibrate.sound.reading import read
from calibrate.terminal.errors import AudioError, MissingAudioError
from tests.calibrate.sound.expect import FILES
from tiny_omni import DEMO

#: MP4 is read from its end: a pipe has to be kept.
KINDS = ["phone.m4a", "browser.webm", "streamed.flac", "vbr_without_xing.mp3", "gsm.wav"]


@pytest.mark.parametrize("name", KINDS)
def test_a_named_pipe_gives_what_the_file_gives(tmp_path, name):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=((FILES / name).read_bytes(),))
    writer.start()
    samples = read(pipe).samples
    writer.join()
    assert np.array_equal(samples, read(FILES / name).samples)


def stdin(content, terminal=False):
    return types.SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: terminal)


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", stdin(DEMO.read_bytes()))
    assert np.array_equal(read("-").samples, read(DEMO).samples)


def test_standard_input_that_gives_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdin", stdin(b""))
    with pytest.raises(AudioError, match="empty"):
        read("-")
    monkeypatch.setattr(sys, "stdin", stdin(b"", terminal=True))
    with pytest.raises(MissingAudioError, match="is a terminal"):
        read("-")


def test_a_file_of_the_name_of_standard_input(tmp_path, monkeypatch):
    (tmp_path / "-").write_bytes(DEMO.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", stdin(b"no recording"))
    for name in (Path("-"), "./-"):
        assert len(read(name).samples)


def test_what_the_system_does_not_read_is_named():
    with pytest.raises(AudioError, match=r"^/proc/self/mem: cannot be read: "):
        read("/proc/self/mem")
    broken = mock.Mock(side_effect=OSError(5, "Input/output error"))
    file = types.SimpleNamespace(seek=lambda *_: 5000, read=broken)
    with pytest.raises(AudioError, match=r"^it: cannot be read: Input/output error"):
        read(sources.Source("it", "", file))


def test_a_pipe_without_end(monkeypatch):
    monkeypatch.setattr(sources, "_MOST_BYTES", 1 << 22)
    monkeypatch.setattr(sys, "stdin", stdin(bytes(1 << 23)))
    with pytest.raises(AudioError, match="more than 4 MiB came through the pipe"):
        read("-")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_devices(device):
    with pytest.raises(MissingAudioError, match="is a device or socket"):
        read(device)


@pytest.mark.parametrize(
    "address", ["http://host/a.mp3", "https://h/a", "file:///a.wav", "rtmp://h/a"]
)
def test_addresses(address):
    with pytest.raises(MissingAudioError, match="is an address; only local files are read"):
        read(address)


def test_names_that_no_file_has(tmp_path):
    for name in ("concat:a.wav|b.wav", "data:audio/wav,x", "a\0b", str(DEMO / "inside")):
        with pytest.raises(MissingAudioError, match="no such audio file"):
            read(name)


def test_a_name_that_is_not_utf_8(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.flac"
    with open(path, "wb") as file:
        file.write(DEMO.read_bytes())
    assert len(read(os.fsdecode(path)).samples)


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:6,\n{0}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{0}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5 RTP/AVP 0\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    ' mediaPresentationDuration="PT6S"><Period><AdaptationSet mimeType="audio/mp4"><Representation'
    ' id="1"><BaseURL>{0}</BaseURL><SegmentBase/></Representation></AdaptationSet></Period></MPD>',
}


@pytest.mark.parametrize("ending", [None, "wav"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_open_nothing(tmp_path, kind, ending):
    path = tmp_path / f"list.{ending or kind}"
    for named in (FILES / "phone.m4a", "phone.m4a", "http://127.0.0.1:9/a.mp3"):
        (tmp_path / "phone.m4a").write_bytes((FILES / "phone.m4a").read_bytes())
        path.write_text(PLAYLISTS[kind].format(named))
        with pytest.raises(AudioError, match="not audio"):
            read(path)


def test_a_picture_and_a_letter_hold_no_sound(tmp_path):
    (tmp_path / "a.txt").write_text("hello\n" * 99)
    (tmp_path / "a.mp3").write_bytes(np.random.default_rng(0).bytes(50_000))
    for name in ("a.txt", "a.mp3"):
        with pytest.raises(AudioError, match=r"not audio|none of its|breaks off"):
            read(tmp_path / name)
