"""MMAU-Pro from a small parquet file in exactly its columns."""

import sys

import pyarrow
import pytest
from pyarrow import parquet

from calibrate.evaluation.datasets.mmau_pro import CLOSED, OPEN, mmau_pro
from calibrate.evaluation.scoring.answers import parse
from calibrate.evaluation.scoring.items import CHOICE, JUDGED
from headrouter_core.errors import HeadRouterError, UsageError
from tests.calibrate.evaluation.datasets.audio_files import write_audio

ROW = {
    "id": "r0",
    "audio_path": ["data/a.wav"],
    "question": "What is heard?",
    "answer": "A dog barks",
    "choices": ["A bird", "A dog barks", "Rain"],
    "length_type": "short",
    "perceptual_skills": ["x"],
    "reasoning_skills": [],
    "category": "sound",
    "transcription": None,
    "task_classification": "t",
    "task_identifier": None,
    "kwargs": {"N": None, "keyword": None},
    "sub-cat": "s",
}


def write(root, *changes):
    rows = [{**ROW, "id": f"r{number}", **change} for number, change in enumerate(changes)]
    # a type of its own where all rows have none
    choices = pyarrow.array([row["choices"] for row in rows], pyarrow.list_(pyarrow.string()))
    table = pyarrow.Table.from_pylist(rows)
    index = table.column_names.index("choices")
    parquet.write_table(table.set_column(index, "choices", choices), root / "test.parquet")


@pytest.fixture
def root(tmp_path):
    for name in ("a", "b c", "ü"):
        write_audio(tmp_path / "data" / f"{name}.wav")
    return tmp_path


def test_closed_rows(root):
    write(
        root,
        {},
        {"category": "speech", "answer": "(c)", "audio_path": ["b c.wav"]},
        {"category": "multi", "audio_path": ["./data/a.wav", "/data/ü.wav"]},
        {"category": "voice_chat", "choices": ["no", "yes"], "answer": "Yes."},
    )
    dataset = mmau_pro(root)
    assert not dataset.faults
    assert [item.kind for item in dataset.items] == [CHOICE] * 4
    assert [item.reference for item in dataset.items] == ["B", "C", "B", "B"]
    assert [item.group for item in dataset.items] == ["acoustic", "semantic", None, "semantic"]
    assert [len(item.read()) for item in dataset.items] == [1, 1, 2, 1]
    assert dataset.items[0].prompt == (
        "What is heard?\n\nA. A bird\nB. A dog barks\nC. Rain\n\n"
        "Respond with only the letter of the correct option (A, B, or C)."
    )
    assert dataset.items[3].prompt.endswith("correct option (A or B).")
    assert parse(dataset.items[0], "a dog barks") == "B"
    assert parse(dataset.items[0], "") is None


def test_rows_that_share_a_clip_share_a_cluster(root):
    write(
        root,
        {"audio_path": ["data/ü.wav"]},
        {"audio_path": ["data/b c.wav"]},
        {"audio_path": ["data/b c.wav", "data/a.wav"]},
        {"audio_path": ["data/a.wav"]},
    )
    clusters = [item.cluster for item in mmau_pro(root).items]
    assert clusters == ["data/ü.wav", "data/a.wav", "data/a.wav", "data/a.wav"]


def test_open_rows_are_for_the_judge(root):
    write(
        root,
        {"category": "open", "choices": None, "answer": "Because."},
        {
            "category": "instruction following",
            "answer": None,
            "task_identifier": "Number Words (at least)",
            "kwargs": {"N": 3, "keyword": None},
        },
        {"category": "music", "choices": ["only one"]},
        {"category": "music", "choices": None},
    )
    dataset = mmau_pro(root)
    assert [item.kind for item in dataset.items] == [JUDGED] * 4
    assert dataset.items[0].prompt == ROW["question"]
    assert [item.reference for item in dataset.items[:2]] == ["Because.", ""]
    judge = dataset.items[1].judge
    assert judge["kwargs"] == {"N": 3}
    assert judge["task_identifier"] == "Number Words (at least)"
    assert (judge["row"], judge["category"]) == ("r1", "instruction following")
    assert dataset.items[2].judge["choices"] == ["only one"]


def test_rows_that_cannot_be_asked_are_faults(root):
    write(
        root,
        {},
        {"audio_path": ["data/a.wav", "data/lost.wav"]},
        {"audio_path": []},
        {"question": None},
        {"answer": "A cat"},
        {"answer": None},
        {"choices": ["A dog barks", None]},
        {"choices": ["A dog barks"] + [f"no {number}" for number in range(26)]},
    )
    dataset = mmau_pro(root)
    assert [item.id for item in dataset.items] == ["00000/r0"]
    assert [fault.id for fault in dataset.faults] == [f"{n:05d}/r{n}" for n in range(1, 8)]
    reasons = [fault.reason for fault in dataset.faults]
    for reason, expected in zip(
        reasons,
        [
            "no such audio file: data/lost.wav",
            "no such audio file: none is named",
            "no question",
            "answer 'A cat' is none",
            "answer None is none",
            "choices must be at most 26 texts",
            "choices must be at most 26 texts",
        ],
        strict=True,
    ):
        assert reason.startswith(expected)
    report = dataset.report()
    assert not report["complete"]
    assert report["tasks"]["sound"] == {"items": 1, "faults": 7, "excluded": 0, "expected": 1048}


def test_published_counts():
    assert sum(count for _, count in CLOSED.values()) == 4593
    assert sum(count for _, count in CLOSED.values()) + sum(OPEN.values()) == 5305


def test_unreadable(root, tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        mmau_pro(tmp_path / "elsewhere")
    (root / "test.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UsageError, match="no readable parquet"):
        mmau_pro(root)
    parquet.write_table(pyarrow.table({"id": ["x"]}), root / "test.parquet")
    with pytest.raises(UsageError, match="lacks the columns audio_path, question"):
        mmau_pro(root)


def test_without_pyarrow(root, monkeypatch):
    write(root, {})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(HeadRouterError, match="pip install pyarrow"):
        mmau_pro(root)
