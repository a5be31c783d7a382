import importlib.util
import json
from dataclasses import replace

import pytest
import transformers
from rich.console import Console
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.commands.families import Families
from calibrate.inspection import family_list
from headrouter_core.families import FAMILIES


def invoke(*arguments):
    done = CliRunner().invoke(app, ["families", *arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_json_lists_every_family_with_all_that_is_known():
    listed = json.loads(invoke("--json"))["families"]
    assert [fact["family"] for fact in listed] == [family.name for family in FAMILIES]
    for fact in listed:
        if fact["lacking"]:
            continue
        # some cannot be imported without packages of their own, as Gemma 4's without torchvision
        assert fact["inputs"]["made_by"] in ("headrouter", *dir(transformers))
        assert fact["inputs"]["tested"]
        assert fact["audio_tokens_per_second"] > 0


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_model_classes_are_those_of_the_model_types(family):
    if reason := family.lacking():
        pytest.skip(reason)
    found = [getattr(transformers, name).config_class.model_type for name in family.model_classes]
    assert tuple(found) == family.model_types


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_is_lacking_is_what_transformers_does_not_export(family):
    missing = sorted(set(family.model_classes) - set(dir(transformers)))
    said = f"transformers {transformers.__version__} has no {', '.join(missing)}"
    assert family.lacking() == (said if missing else None)


@pytest.mark.parametrize("name", ["NewerForConditionalGeneration", "VoxtralForConditional"])
def test_classes_that_are_not_exported_are_lacking(name):
    (voxtral,) = [family for family in FAMILIES if family.name == "voxtral"]
    family = replace(voxtral, model_classes=(*voxtral.model_classes, name))
    assert family.lacking() == f"transformers {transformers.__version__} has no {name}"
    assert (
        replace(voxtral, name="no_such_folder")
        .lacking()
        .endswith("has no " + voxtral.model_classes[0])
    )


def test_notes_are_sentences():
    for family in FAMILIES:
        assert not family.rate_note.endswith(".")
        assert all(note.endswith(".") and note[0] != " " for note in family.notes)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(monkeypatch, width):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        family_list.importlib.util,
        "find_spec",
        lambda name: find(name) if name == "transformers" else None,
    )
    console = Console(width=width, record=True, highlight=False)
    monkeypatch.setattr(family_list, "show", console.print)
    family_list.run(Families())
    lines = console.export_text().splitlines()
    for family in FAMILIES:
        assert any(line.startswith(family.name) for line in lines)
        assert any(line.startswith(family.model_classes[-1]) for line in lines)
    assert all(len(line) <= width for line in lines)


def test_how_each_fares_in_vllm_is_said():
    facts = {family.name: family_list.to_json(family)["vllm"] for family in FAMILIES}
    assert facts["qwen2_5_omni"] == "exact"
    assert facts["qwen3_omni_moe"] == "exact"
    assert facts["qwen2_audio"] == "renumbered"
    assert facts["audioflamingo3"] == "renumbered"
    assert facts["gemma4"] is None
    lines = invoke().splitlines()
    for name, sign in (("qwen3_asr", "yes"), ("qwen2_audio", "(1)"), ("gemma4", "no")):
        assert next(line for line in lines if line.split()[:1] == [name]).split()[-1] == sign


def test_it_is_plain_where_there_is_no_terminal():
    text = invoke()
    assert "\x1b" not in text
    assert "Audio tokens: padded to whole windows of 30 s, 375 tokens each." in text


def test_packages_that_are_missing_are_said_to_be(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        family_list.importlib.util,
        "find_spec",
        lambda name: None if name == "torchaudio" else find(name),
    )
    missing = {
        fact["family"]: fact["inputs"]["missing"]
        for fact in map(family_list.to_json, FAMILIES)
        if fact["inputs"]["missing"]
    }
    missing.pop("voxtral", None)  # mistral-common may be missing indeed
    assert sorted(missing) == ["fun_asr_nano", "granite_speech", "granite_speech_plus"]
    assert all(names == ["torchaudio"] for names in missing.values())
    assert "lacks torchaudio" in invoke()


def test_a_family_that_the_installed_transformers_lacks(monkeypatch):
    (voxtral,) = [family for family in FAMILIES if family.name == "voxtral"]
    newer = replace(voxtral, name="newer", model_classes=("NewerForConditionalGeneration",))
    monkeypatch.setattr(family_list, "FAMILIES", (voxtral, newer))
    reason = f"transformers {transformers.__version__} has no NewerForConditionalGeneration"
    listed = json.loads(invoke("--json"))["families"]
    assert [fact["lacking"] for fact in listed] == [None, reason]
    text = invoke()
    assert text.count("not available") == 1
    assert reason in " ".join(text.split())


def test_a_family_without_a_front_end(monkeypatch):
    monkeypatch.delitem(family_list.FRONT_ENDS, "voxtral")
    (voxtral,) = [family for family in FAMILIES if family.name == "voxtral"]
    assert family_list.to_json(voxtral)["inputs"] is None
    assert "none" in invoke()
