"""Folders that are no whole model: one clear line each, and nothing outside them is read."""

import json

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.models.named import load
from calibrate.terminal.errors import ModelError

from ..helpers import spoiled


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def nested(levels):
    return "[" * levels + "]" * levels


ODD = {
    "a config that is a list": ("config.json", "[]"),
    "a config of nested lists": ("config.json", nested(100_000)),
    "a config that is no text": ("config.json", "\udcff"),
    "an empty config": ("config.json", "{}"),
    "a tokenizer of null": ("tokenizer.json", "null"),
    "a tokenizer of a list": ("tokenizer.json", "[]"),
    "a tokenizer config of null": ("tokenizer_config.json", "null"),
    "a feature extractor of null": ("preprocessor_config.json", "null"),
    "a feature extractor of another kind": ("preprocessor_config.json", '{"feature_size": "x"}'),
    "generation settings of a list": ("generation_config.json", "[]"),
    "weights of text": ("model.safetensors", "text"),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_file_of_something_else(thinker, tmp_path, odd):
    folder = spoiled(thinker, tmp_path)
    name, text = ODD[odd]
    (folder / name).write_text(text, errors="surrogateescape")
    done = CliRunner().invoke(app, ["calibrate", "--model", str(folder), "-o", f"{tmp_path}/p.st"])
    assert done.exit_code == 1, done.stderr
    assert "a fault in headrouter" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("layers", [0, 1, -1, "two", None])
def test_numbers_of_layers(thinker, tmp_path, layers):
    folder = spoiled(thinker, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"num_hidden_layers": layers, "layer_types": None}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        load(str(folder), device="cpu")


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a/b", "..", "a\\b"])
def test_shards_that_lie_elsewhere_are_not_read(full_omni, tmp_path, name):
    folder = spoiled(full_omni, tmp_path)
    shard = folder / "model-00001-of-00002.safetensors"
    save_file(load_file(shard), tmp_path / "outside.safetensors", {"format": "pt"})
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    moved = {key: name if place == shard.name else place for key, place in places.items()}
    index.write_text(json.dumps({"weight_map": moved}))
    with pytest.raises(ModelError, match="no file beside it"):
        load(str(folder), device="cpu")


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": 3}', nested(100_000), "x"])
def test_an_index_that_is_none(full_omni, tmp_path, text):
    folder = spoiled(full_omni, tmp_path)
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match="no index of weights"):
        load(str(folder), device="cpu")
