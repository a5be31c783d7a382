import io
import json
import os

import pytest
from rich.table import Table
from rich.text import Text

from calibrate.terminal import console
from calibrate.terminal.visible import one_line, to_json, visible
from headrouter_core.errors import HeadRouterError

ODD = "[bold]x[/] :smile: \x1b[31m\x9b2J\r\b\u202e\u2028 caf\udce9\x00\t\x7f"
SHOWN = r"[bold]x[/] :smile: \x1b[31m\x9b2J\r\x08\u202e\u2028 caf\udce9\x00\t\x7f"


def test_what_is_unseen_is_shown_and_what_is_seen_stays():
    assert visible(ODD) == SHOWN
    assert visible("Grüße, 你好 🎧 é\n$x$") == "Grüße, 你好 🎧 é\n$x$"
    assert one_line("a\nerror: b") == r"a\nerror: b"


def test_messages_are_one_line_of_data(capsys):
    console.say(ODD + "\nerror: forged", "error")
    assert capsys.readouterr().err == f"error: {SHOWN}\\nerror: forged\n"


def test_results_are_data_as_strings_in_tables_and_as_styled_text(capsys):
    table = Table(ODD)
    table.add_row(ODD)
    table.add_row(Text(ODD, style="bold"))
    console.show(ODD, table, Text(ODD))
    printed = capsys.readouterr().out
    assert printed.count(SHOWN) >= 3
    assert not any(sign in printed for sign in "\x1b\x9b\u202e\udce9")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_json_keeps_its_content_in_every_encoding(encoding):
    value = {"text": ODD + "Grüße 你好", "numbers": [1, 2.5, None]}
    text = to_json(value, encoding=encoding)
    assert json.loads(text.encode(encoding)) == value
    assert not any(sign in text for sign in "\x1b\x9b\u202e\udce9")


def test_a_progress_bar_reads_no_markup():
    from calibrate.terminal.progress import Progress

    shown = console.PlainConsole(force_terminal=True, file=io.StringIO(), record=True)
    with Progress(shown) as progress, progress.stage("[/] [bold]data[/bold] \x1b[2J", 1) as tick:
        tick()
    assert r"[/] [bold]data[/bold] \x1b[2J" in shown.export_text()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_an_error_and_behind_stderr_is_not(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(HeadRouterError, match="standard output: No space left on device"):
            console.show("x")
        monkeypatch.setattr("sys.stderr", full)
        console.say("x")
        monkeypatch.undo()
        # what is left in the buffers is nobody's
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
