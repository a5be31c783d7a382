"""What a server and a request may say."""

import pytest

from headrouter_core.errors import UsageError
from headrouter_vllm.errors import RequestError
from headrouter_vllm.settings import METHODS, PER_REQUEST, Settings


def test_a_ratio_is_its_decimal_value_however_it_is_written():
    told = {Settings.at_start({"ratio": ratio}).ratio for ratio in (0.6, "0.6", "0.60", "3/5")}
    assert told == {"3/5"}
    assert Settings.at_start({}).ratio == "0"
    assert Settings.at_start({}).method == "frame"


def test_a_request_changes_what_it_names_and_nothing_else():
    server = Settings.at_start({"ratio": 0.6, "method": "segments", "merge": 0.5, "profile": "x"})
    assert server.asked({}) == server
    asked = server.asked({"ratio": 0.9})
    assert (asked.ratio, asked.method, asked.merge, asked.profile) == ("9/10", "segments", 0.5, "x")
    assert server.asked({"method": "frame"}).method == "frame"
    assert server.asked({"method": "headrouter"}).reads_question


def test_what_decides_is_all_that_a_request_may_change():
    server = Settings.at_start({"ratio": 0.6, "method": "segments", "change": 1})
    assert server.chosen_by() == {"ratio": "3/5", "method": "segments", "change": 1}
    assert Settings(**server.chosen_by()).asked({}).chosen_by() == server.chosen_by()
    for name, value in (("ratio", 0.5), ("method", "frame"), ("change", 2), ("merge", 0.1)):
        given = {name: value}
        assert server.asked(given).chosen_by() != server.chosen_by() or name == "method"
        assert name in PER_REQUEST


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ratio": 1}, "ratio 1 is outside"),
        ({"ratio": -0.1}, "ratio -0.1 is outside"),
        ({"ratio": True}, "ratio True is not a number"),
        ({"ratio": None}, "ratio None is not a number"),
        ({"ratio": "half"}, "ratio 'half' is not a number"),
        ({"ratio": float("nan")}, "ratio nan is not a number"),
        ({"method": "fastv"}, f"headrouter.method is 'fastv'; known are {', '.join(METHODS)}"),
        ({"method": ["frame"]}, "headrouter.method is "),
        ({"ration": 0.6}, "'ration' is no setting"),
        ({"method": "segments", "change": 5}, r"headrouter.change 5 is outside \[0, 4\]"),
        ({"method": "segments", "merge": "1"}, "headrouter.merge '1' is no number"),
        ({"change": 1}, "change is nothing that frame knows; it is for segments and"),
        ({"method": "headrouter"}, "headrouter reads the question by a calibrated profile"),
        (0.6, "is 0.6; it must be an object"),
        ([("ratio", 0.6)], "it must be an object"),
    ],
)
def test_what_is_none_is_refused(given, message):
    with pytest.raises(UsageError, match=message):
        Settings.at_start(given)
    with pytest.raises(RequestError, match=message):
        Settings().asked(given)


@pytest.mark.parametrize(
    "given", [{"profile": "/etc/passwd"}, {"unproven": True}, {"force": True}, {"positions": "x"}]
)
def test_a_request_may_not_change_what_is_the_servers(given):
    with pytest.raises(RequestError, match="is a setting of the server's start"):
        Settings().asked(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"positions": "new"}, "headrouter.positions is 'new'; known are kept, renumbered"),
        ({"unproven": "yes"}, "headrouter.unproven is 'yes'; it must be true or false"),
        ({"force": 1}, "headrouter.force is 1; it must be true or false"),
        ({"profile": 3}, "headrouter.profile is 3; it must be text"),
    ],
)
def test_the_servers_own_settings_are_checked(given, message):
    with pytest.raises(UsageError, match=message):
        Settings.at_start(given)


def test_a_refused_request_is_a_value_error():
    # which is what vLLM answers with HTTP 400
    assert issubclass(RequestError, ValueError)
