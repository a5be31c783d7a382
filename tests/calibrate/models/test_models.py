import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from calibrate.models import named, own, placement
from calibrate.models.named import load, source
from calibrate.models.own import EMBEDDED
from calibrate.terminal.errors import ModelError
from headrouter_core.errors import UnsupportedModelError, UsageError
from headrouter_core.families import model_info
from tests.calibrate.helpers import spoiled
from tiny_omni import MODEL_DIR

SHARD = "model-00001-of-00002.safetensors"


def test_a_thinker_loads(loaded, thinker):
    assert loaded.name == loaded.id == "small-thinker"
    assert loaded.revision is None
    assert loaded.device == torch.device("cpu")
    assert loaded.dtype == loaded.model.dtype == torch.float32
    assert not loaded.model.training
    stored = load_file(thinker / "model.safetensors")
    weight = loaded.model.lm_head.weight
    assert torch.equal(weight, stored["lm_head.weight"].float())


def test_every_choice_has_a_reason(loaded):
    model, device, dtype = loaded.reasons
    assert model == "model small-thinker"
    assert device.startswith("device cpu: ")
    assert dtype.startswith("dtype float32: ")


def test_a_full_checkpoint_gives_the_same_thinker(full_omni, loaded):
    full = load(str(full_omni), device="cpu")
    assert type(full.model).__name__ == "Qwen2_5OmniThinkerForConditionalGeneration"
    ours, theirs = full.model.state_dict(), loaded.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    info = model_info(full.model, 2)
    assert info.id == "small-omni"
    assert info.fingerprint == model_info(loaded.model, 2).fingerprint


def test_a_full_checkpoint_stops_at_the_end_of_a_turn(full_omni):
    full = load(str(full_omni), device="cpu")
    assert full.model.generation_config.eos_token_id == full.frontend.tokenizer.eos_token_id
    assert full.model.generation_config.pad_token_id == full.frontend.tokenizer.pad_token_id


def test_the_talker_is_never_read(full_omni, tmp_path, monkeypatch):
    from transformers import core_model_loading

    read, spawn = [], core_model_loading.spawn_materialize

    def spy(pool, tensor, *args, **kwargs):
        read.append(tensor)
        return spawn(pool, tensor, *args, **kwargs)

    monkeypatch.setattr(core_model_loading, "spawn_materialize", spy)
    full = load(str(full_omni), device="cpu")
    assert len(read) == len(full.model.state_dict())


def test_dtypes(thinker):
    assert load(str(thinker), device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    with pytest.raises(UsageError, match="'int8' is not known; say auto, float32"):
        load(str(thinker), dtype="int8")


def test_off_the_cpu_the_checkpoints_dtype_is_kept():
    assert placement.choose_dtype("auto", torch.device("cuda"))[0] is None
    assert placement.choose_dtype("auto", torch.device("cpu"))[0] is torch.float32


def test_auto_prefers_cuda_then_mps(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "H200")
    for cuda, mps, expected in ((1, 1, "cuda"), (0, 1, "mps"), (0, 0, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: bool(cuda))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: bool(mps))
        device, reason = placement.choose_device("auto")
        assert device.type == expected
        assert reason


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta"])
def test_devices_that_are_not_there(name):
    with pytest.raises(UsageError, match=r"device|no device"):
        placement.choose_device(name)


def test_inputs_are_placed(loaded):
    half = named.Loaded(**{**vars(loaded), "dtype": torch.bfloat16})
    placed = half.place({"input_ids": torch.tensor([[1]]), "input_features": torch.ones(2)})
    assert placed["input_ids"].dtype == torch.int64
    assert placed["input_features"].dtype == torch.bfloat16


def test_aliases():
    assert source("tiny-omni") == named.Source("tiny-omni", "tiny-omni", MODEL_DIR)
    for name in ("qwen2.5-omni-3b", "Qwen2.5-Omni-3B", "Qwen/Qwen2.5-Omni-3B"):
        found = source(name)
        assert (found.name, found.id) == ("qwen2.5-omni-3b", "Qwen/Qwen2.5-Omni-3B")
        assert found.folder is None
    assert source("someone/some-model").name == "some-model"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny-omi", "Did you mean tiny-omni"),
        ("qwen2.5-omni-3", "Did you mean qwen2.5-omni-3b"),
        ("whisper", "no model 'whisper'. A model is one of tiny-omni"),
        ("./nowhere", "no folder ./nowhere"),
        ("/no/such/folder", "no folder /no/such/folder"),
        ("a/b/c", "no folder a/b/c"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(UsageError, match=message):
        source(name)


def test_a_file_is_no_model(thinker):
    with pytest.raises(UsageError, match="is a file; --model takes the folder"):
        source(str(thinker / "model.safetensors"))


def test_a_folder_has_no_revision(thinker):
    with pytest.raises(UsageError, match="no revision 'main'"):
        load(str(thinker), revision="main")


def test_the_embedded_model_without_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(own, "MODEL_DIR", tmp_path)
    with pytest.raises(ModelError, match="no weights of tiny-omni; make them with"):
        load(EMBEDDED)


def test_the_embedded_model():
    embedded = load(EMBEDDED, device="cpu")
    assert embedded.id == "tiny-omni"
    assert embedded.frontend.max_seconds == 30


def rewrite(folder, file, change):
    weights = load_file(folder / file)
    change(weights)
    save_file(weights, folder / file, {"format": "pt"})


def drop_one(folder):
    rewrite(folder, SHARD, lambda weights: weights.pop(min(weights)))
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"] = {
        name: file
        for name, file in index["weight_map"].items()
        if file != SHARD or name in load_file(folder / SHARD)
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def truncate(folder):
    path = folder / SHARD
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "a shard is missing": (lambda folder: (folder / SHARD).unlink(), "cannot be loaded"),
    "a shard is truncated": (truncate, "cannot be loaded"),
    "a weight is missing": (drop_one, "1 weights are missing, the first is model.audio_tower"),
    "a weight is unknown": (
        lambda folder: rewrite(
            folder, SHARD, lambda weights: weights.update({"thinker.more": torch.ones(2)})
        ),
        "1 weights belong to no part of it, the first is more",
    ),
    "a weight has another shape": (
        lambda folder: rewrite(
            folder, SHARD, lambda weights: weights.update({min(weights): torch.ones(7, 7)})
        ),
        "1 weights have another shape",
    ),
    "no weights": (
        lambda folder: [path.unlink() for path in folder.glob("*.safetensors*")],
        "cannot be loaded",
    ),
    "no tokenizer": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        "tokenizer is incomplete",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoints(full_omni, tmp_path, damage):
    spoil, message = DAMAGES[damage]
    folder = spoiled(full_omni, tmp_path)
    spoil(folder)
    with pytest.raises(ModelError, match=message):
        load(str(folder), device="cpu")


def test_pickles_are_not_loaded(thinker, tmp_path):
    folder = spoiled(thinker, tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(str(folder), device="cpu")


def test_another_kind_of_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(UnsupportedModelError, match="'whisper'"):
        load(str(tmp_path))


def test_out_of_memory_is_not_disguised(thinker, monkeypatch):
    import transformers

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    kind = transformers.Qwen2_5OmniThinkerForConditionalGeneration
    monkeypatch.setattr(kind, "from_pretrained", full)
    with pytest.raises(torch.OutOfMemoryError):
        load(str(thinker), device="cpu")


def test_a_relative_folder_loads_from_where_one_stands(thinker, monkeypatch):
    monkeypatch.chdir(Path(thinker).parent)
    assert source("small-thinker").id == "small-thinker"
    assert source("./small-thinker/").name == "small-thinker"
