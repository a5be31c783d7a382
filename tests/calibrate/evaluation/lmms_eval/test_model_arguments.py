"""Arguments of the model and of the tasks: read as lmms-eval gives them, or refused by name."""

import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import torch

from calibrate.evaluation.lmms_eval.generation import read_generation
from calibrate.evaluation.lmms_eval.requests import read_request
from calibrate.evaluation.lmms_eval.settings import own_device, read_settings
from headrouter_core.errors import UsageError

ROOT = Path(__file__).parents[4]


def test_the_entry_point_leads_somewhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["lmms_eval.models"]["headrouter"].partition(":")
    assert callable(getattr(import_module(module), name))


def test_arguments_as_lmms_eval_parses_them():
    settings = read_settings(
        {"pretrained": "tiny-omni", "ratio": 0.9, "layer": 3, "batch_size": "4", "profile": None}
    )
    assert (settings.pretrained, settings.ratio, settings.layer) == ("tiny-omni", 0.9, 3)
    assert (settings.batch_size, settings.profile, settings.method) == (4, None, "headrouter")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ration": 0.6}, "no model argument 'ration'. Did you mean ratio?"),
        ({"attn_implementation": "eager"}, "no model argument 'attn_implementation'"),
        ({"ratio": 1.0}, "ratio 1.0 is outside [0, 1)"),
        ({"ratio": "most"}, "ratio 'most' is not a number"),
        ({"ratio": True}, "not a number"),
        ({"method": "best"}, "there is no method 'best'; known are"),
        ({"layer": 0}, "layer=0"),
        ({"layer": 2.5}, "layer=2.5"),
        ({"batch_size": "auto"}, "batch_size=auto"),
        ({"batch_size": True}, "batch_size=True"),
        ({"revision": 1234567}, "revision=1234567 was read as a number"),
        ({"force": "yes"}, "force='yes' is neither true nor false"),
    ],
)
def test_other_arguments_are_refused(given, says):
    with pytest.raises(UsageError) as caught:
        read_settings(given)
    assert says in str(caught.value)


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert own_device("auto") == "cuda:1"
    assert own_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert own_device("auto") == "auto"


GREEDY = {"num_beams": 1, "do_sample": False, "temperature": None, "top_p": None, "top_k": None}


@pytest.mark.parametrize(
    ("given", "options", "until"),
    [
        ({}, {**GREEDY, "max_new_tokens": 4096}, ()),
        (
            {"max_new_tokens": 8, "temperature": 0, "top_p": 1.0, "until": ["\n\n"]},
            {**GREEDY, "max_new_tokens": 8},
            (),
        ),
        (
            {"temperature": 0.2, "top_p": None, "until": "."},
            {"max_new_tokens": 4096, "num_beams": 1, "temperature": 0.2, "do_sample": True},
            (".",),
        ),
        (
            {"temperature": 0.2, "do_sample": False, "num_beams": 3, "until": ["a", "\n\n"]},
            {**GREEDY, "max_new_tokens": 4096, "num_beams": 3},
            ("a", "\n\n"),
        ),
        ({"until": None}, {**GREEDY, "max_new_tokens": 4096}, ()),
    ],
)
def test_generation_settings(given, options, until):
    generation = read_generation(given, 4096)
    assert (generation.options, generation.until) == (options, until)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"num_return_sequences": 2}, "'num_return_sequences'"),
        ({"do_sample": True, "temperature": 0.0}, "do_sample at temperature 0.0"),
        ({"until": [""]}, "until ['']"),
        ({"until": 5}, "until 5"),
    ],
)
def test_other_generation_settings_are_refused(given, says):
    with pytest.raises(UsageError) as caught:
        read_request(("Q", given, list, 3, "digits", "test"), {}, 4096)
    assert says in str(caught.value)
    assert "task digits, split test, document 3" in str(caught.value)


def test_a_request_of_another_kind_is_refused():
    messages = ("Q", list, {"max_new_tokens": 8}, 0, "digits", "test")
    for arguments in (messages, messages[:2]):
        with pytest.raises(UsageError, match="doc_to_visual"):
            read_request(arguments, {}, 4096)


@pytest.mark.parametrize(
    ("text", "cut"), [("one. two", "one"), ("one\nQ: two.", "one"), ("one", "one"), (".", "")]
)
def test_answers_end_at_the_first_stop(text, cut):
    assert read_generation({"until": [".", "\nQ:"]}, 1).cut(text) == cut
