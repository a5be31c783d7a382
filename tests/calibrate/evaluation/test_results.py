"""Tables and ``results.json`` of a made-up evaluation."""

import gzip
import json

import pytest

from calibrate.estimation.choosing.intervals import holm
from calibrate.evaluation.asking.methods import METHODS
from calibrate.evaluation.comparing import results as module
from calibrate.evaluation.comparing.results import build, dumps, read, systems_of
from calibrate.evaluation.scoring.items import JUDGED, Dataset
from calibrate.evaluation.showing.table import describe
from calibrate.evaluation.showing.wording import in_families, labels, percent
from headrouter_core.errors import HeadRouterError, UsageError
from tests.calibrate.evaluation import made_up

TEN = ("digits", "keyword", "sentence", "reasoning", "event", "background", "instrument",
       "emotion", "gender", "sound_music")  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return made_up.results()


def rows_of(text, title):
    """The cells of the table under a heading that holds ``title``, by method and ratio."""
    rows, ratio, inside = {}, 0.0, False
    for line in text.splitlines():
        if title in line:
            inside = True
        elif inside and not line:
            break
        elif inside and line.startswith("ratio "):
            ratio = float(line.split()[1])
        elif inside:
            name, *cells = line.split()
            rows[f"headrouter{name}" if name.startswith(":") else name, ratio] = cells
    return rows


def test_the_table_shows_the_scores(found):
    rows = rows_of(describe(found, {}), "average [95 %]")
    assert list(rows) == [("vanilla", 0.0)] + [
        (method, ratio)
        for ratio in made_up.RATIOS
        for method in ("headrouter", "headrouter:hard", "frame", "random")
    ]
    for system, cells in rows.items():
        for task, cell in zip(found.scored_tasks, cells, strict=False):
            row = found.scores[task, system]
            assert cell.rstrip("+-?") == percent(row["score"]["value"])
            verdict = row.get("against_vanilla", {}).get("verdict", "tie")
            assert cell[-1] == {"better": "+", "worse": "-"}.get(verdict, cell[-1])
            assert (cell[-1] in "+-") == (verdict in ("better", "worse"))
        average = found.averages[system]
        assert cells[3] == f"{average['percent_of_vanilla']['value']:.1f}"
        marks = [
            {"better": "+", "worse": "-", "tie": "="}[average[key]["verdict"]]
            for key in ("against_vanilla", "against_frame")
            if key in average
        ]
        assert cells[len(cells) - len(marks) :] == marks
    verdicts = [row.get("against_frame", {}).get("verdict") for row in found.averages.values()]
    assert {"better", "tie", None} <= set(verdicts)  # or this test shows little


@pytest.mark.parametrize(("peak", "width"), [(None, 80), (None, 100), (2**34, 100), (None, 120)])
def test_everything_fits(peak, width):
    ratios = (0.3, 0.95)
    found = made_up.results(tuple(METHODS), ratios, TEN, number=4)
    text = describe(found, made_up.timing(tuple(METHODS), ratios, peak), width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("average [95 %]") == 1
    rows = rows_of(text, "prefill ms")
    assert len(rows) == 1 + 2 * len(METHODS)
    assert ("peak MiB" in text) == (peak is not None)


def test_more_tasks_than_fit_take_more_tables():
    tasks = tuple(f"sound_{number}" for number in range(17))
    found = made_up.results(tasks=tasks, number=2)
    text = describe(found, {})
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("ratio 0.3") == 4  # two tables of scores, and the two beside
    # each column has a name of its own, and the ones that are not readable are explained
    shown = [f"soun{number}" for number in range(2, 10)] + [f"sou{n}" for n in range(10, 18)]
    assert all(name in text.split() for name in ("sound", *shown))
    assert "sou17 is sound_16" in " ".join(text.split())


def test_ties_and_unknowns_are_written():
    found = made_up.results(("frame",), (0.9,), ("event",), number=2)  # one cluster: no interval
    text = describe(found, {})
    assert rows_of(text, "average [95 %]")["frame", 0.9][-1] == "?"
    assert found.averages["frame", 0.9]["against_vanilla"]["verdict"] is None


def test_a_task_of_few_speakers_has_intervals_and_no_verdicts():
    found = made_up.results(("frame",), (0.9,), ("event",), number=10)  # five clusters
    against = found.scores["event", ("frame", 0.9)]["against_vanilla"]
    assert against["low"] < against["value"] < 0 < against["high"]
    assert against["verdict"] is None
    assert rows_of(describe(found, {}), "average [95 %]")["frame", 0.9][0].endswith("?")


def test_an_incomplete_set_is_called_so():
    found = made_up.results(faults=[f"no such audio file: {n}.wav" for n in range(7)])
    text = describe(found, {})
    assert "INCOMPLETE: made up was not asked as a whole: digits 12, 7 faulty." in text
    assert "digits/x: no such audio file: 0.wav" in text
    assert "and 2 more, in results.json" in text
    assert "INCOMPLETE" not in describe(made_up.results(), {})


def test_nothing_to_score():
    item = made_up.items(("event",), 1)[0]
    systems = systems_of(("frame",), (0.9,))
    record = made_up.record(item, systems) | {"kind": JUDGED}
    said = [[answer, complete, None, None] for answer, complete, *_ in record["said"]]
    replies = [[*line[:3], None, None, None, *line[6:]] for line in record["replies"]]
    record |= {"said": said, "replies": replies}
    found = build(made_up.header(("frame",), (0.9,)), Dataset("d", (item,)), [], [record])
    assert found.averages == {}
    assert found.scores["event", ("frame", 0.9)]["divergence"] == 0.09
    assert "for an outside judge" in describe(found, {})


def test_groups_have_averages_of_their_own(found):
    row = found.averages["frame", 0.9]
    assert set(row["groups"]) == {"semantic", "acoustic"}
    score = {task: found.scores[task, ("frame", 0.9)]["score"]["value"] for task in made_up.WORDS}
    whole = {task: found.scores[task, ("vanilla", 0.0)]["score"]["value"] for task in made_up.WORDS}
    assert row["groups"]["semantic"]["value"] == pytest.approx(
        100 * score["digits"] / whole["digits"], abs=1e-4
    )
    acoustic = [score["event"] + score["gender"], whole["event"] + whole["gender"]]
    assert row["groups"]["acoustic"]["value"] == pytest.approx(
        100 * acoustic[0] / acoustic[1], abs=1e-4
    )


def test_every_pair_of_methods_is_compared_once(found):
    pairs = found.raw["pairs"]
    assert len(pairs) == 2 * 6
    for row in pairs:
        mine, other = (
            found.averages[row[key], row["ratio"]]["percent_of_vanilla"]["value"]
            for key in ("method", "rival")
        )
        assert row["value"] == pytest.approx(mine - other, abs=1e-5)


def test_a_task_of_two_kinds_is_two():
    items = made_up.items(("event",), 4)
    systems = systems_of(("frame",), (0.9,))
    lines = [made_up.record(item, systems) for item in items]
    for line in lines[2:]:
        line["kind"] = "choice"
    found = build(made_up.header(("frame",), (0.9,)), Dataset("d", tuple(items)), [], lines)
    assert found.scored_tasks == ["event (label)", "event (choice)"]


def test_the_file_is_canonical_and_read_as_it_was(found, tmp_path):
    text = dumps(found.raw)
    assert text == dumps(json.loads(text))
    lines = text.splitlines()
    assert sum(line.startswith('{"id":') for line in lines) == len(found.items)
    path = tmp_path / "results.json"
    path.write_text(text, "utf-8")
    assert read(path).raw == json.loads(text)


def test_a_packed_file_is_read_where_there_is_no_other(found, tmp_path):
    path, packed = tmp_path / "results.json", tmp_path / "results.json.gz"
    content = gzip.compress(dumps(found.raw).encode())
    packed.write_bytes(content)
    assert read(path).raw == found.raw
    for broken in (content[:-20], content[:99] + b"x" + content[100:], b"{}"):
        packed.write_bytes(broken)
        with pytest.raises(HeadRouterError, match="cannot be read"):
            read(path)
    path.write_text(dumps(found.raw), "utf-8")
    assert read(path).raw == found.raw


def test_a_whole_run_with_seventy_systems_is_small():
    methods = [f"headrouter:{number}" for number in range(6)] + [f"m{n}" for n in range(11)]
    ratios = (0.3, 0.6, 0.9, 0.95)
    systems = systems_of(methods, ratios)
    item = made_up.items(("event",), 1)[0]
    record = made_up.record(item, systems)
    # numbers as long as they get; answers, routes and batches as different as they really are
    said = [f"the wrong answer {number}" for number in range(8)]
    record["said"] = [[answer, True, answer, 0.0] for answer in said]
    record["routing"] = [[0.123456, [0.1234, 0.2345, 0.6421]] for _ in range(6)]
    record["heard"] = [[1.234, 250, 125]] * 12
    record["seconds"]["batches"] = [[0.12345, 0.12345]] * 10
    record["replies"] = [
        [n % 8, "0123abcd", n % 6 if n % 2 else None, 10.1234, 2, 2, 0.1234, n % 10, n % 12]
        for n in range(len(systems))
    ]
    found = build(made_up.header(methods, ratios), Dataset("d", (item,)), [], [record])
    each = len(dumps({"items": found.raw["items"]}))
    rest = len(dumps(found.raw)) - each  # of one task, and there are nine of 150 items
    assert 1350 * each + 9 * rest < 8e6


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (None, UsageError, "headrouter evaluate"),
        ("{", HeadRouterError, "cannot be read"),
        ("[" * 100_000, HeadRouterError, "cannot be read"),
        ("[]", HeadRouterError, "not the results"),
        ('{"schema": 2}', HeadRouterError, "lacks"),
        ('{"schema": 1}', HeadRouterError, "run headrouter evaluate again"),
        ('{"schema": 99}', HeadRouterError, "update headrouter"),
    ],
)
def test_what_is_no_results_file(tmp_path, content, kind, message):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(kind, match=message):
        read(path)


def test_names():
    methods = ["frame", "headrouter", "random", "headrouter:hard", "other:one"]
    assert in_families(methods) == [
        "frame",
        "headrouter",
        "headrouter:hard",
        "random",
        "other:one",
    ]
    assert labels(methods)["headrouter:hard"] == " :hard"
    assert labels(methods)["other:one"] == "other:one"
    assert [percent(value) for value in (1, 0.9996, 0.5, -0.25, None)] == [
        "100", "100", "50.0", "-25.0", "n/a",
    ]  # fmt: skip
    assert module.SCHEMA == 2


def test_every_verdict_has_a_p_for_its_family(found):
    families = [found.raw["pairs"]] + [
        [row[rival] for row in rows if rival in row]
        for rows in (found.raw["averages"], found.raw["scores"])
        for rival in ("against_vanilla", "against_frame")
    ]
    for family in families:
        tested = [row for row in family if row["p"] is not None]
        assert [row["p_holm"] for row in tested] == pytest.approx(
            holm([row["p"] for row in tested]), abs=1e-6
        )
        assert all(row["p_holm"] >= row["p"] for row in tested)
        assert all(row["verdict"] is None for row in family if row["p"] is None)
    assert "With Holm's correction" in " ".join(describe(found, {}).split())
