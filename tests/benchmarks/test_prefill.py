"""The prefill benchmark: on a tiny model it runs from end to end, and its numbers hang together."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.measuring.bench import Bench, last_logits
from benchmarks.measuring.clock import Clock, interleaved, summary
from benchmarks.measuring.memory import LiveBytes
from benchmarks.prefill import app
from benchmarks.subjects import models, prompts
from benchmarks.subjects.shapes import SHAPES
from headrouter_core import SELECTORS
from headrouter_core.scoring import keep_count

ROOT = Path(__file__).parents[2]
TINY = SHAPES["tiny"]
CPU = torch.device("cpu")
RATIOS = ["0.6", "0.9"]


@pytest.fixture(scope="module")
def bench() -> Bench:
    model = models.random_thinker(TINY, CPU, 0)
    return Bench(model, TINY, models.drawn_profile(model, 2, 0), Clock(CPU), 2, repeats=2, seed=0)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("results") / "tiny.json"
    options = ["--device", "cpu", "--shape", "tiny", "--seconds", "4", "--repeats", "2"]
    done = CliRunner().invoke(app, [*options, "--ratios", ",".join(RATIOS), "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert "Prefill, pruned by headrouter" in done.stdout
    document = json.loads(path.read_text("utf-8"))
    assert document["command"].startswith("python -m benchmarks.prefill " + " ".join(options[:4]))
    assert str(path.parent) not in path.read_text("utf-8")
    return document


def test_every_length_is_there(document: dict[str, Any]) -> None:
    assert document["complete"]
    assert [length["audio_tokens"] for length in document["lengths"]] == [100]
    assert [length["prompt_tokens"] for length in document["lengths"]] == [166]
    assert document["environment"]["torch"] == torch.__version__


def test_figures_of_a_round_are_divided_by_each_other(document: dict[str, Any]) -> None:
    for length in document["lengths"]:
        full = length["prefill"]["full"]["seconds"]["repeats"]
        for ratio, entry in length["prefill"]["ratios"].items():
            assert entry["kept"] == keep_count(length["audio_tokens"], ratio)
            for turn in range(2):
                pruned, ideal, over, speed = (
                    part["repeats"][turn]
                    for part in (
                        entry["pruned"]["seconds"],
                        entry["ideal"]["seconds"],
                        entry["over_ideal"],
                        entry["speedup"],
                    )
                )
                assert over == pytest.approx(pruned / ideal - 1)
                assert speed == pytest.approx(full[turn] / pruned)
                assert 0 < entry["selecting"]["repeats"][turn] < pruned


def test_no_selector_takes_more_memory_than_no_pruning(document: dict[str, Any]) -> None:
    for length in document["lengths"]:
        selectors = length["selectors"]["selectors"]
        assert set(selectors) == set(SELECTORS)
        for name, entry in selectors.items():
            assert 0 < entry["peak_of_full"] <= 1, name
            assert 0 < entry["selecting"]["median"] < entry["seconds"]["median"]
        for entry in length["prefill"]["ratios"].values():
            assert entry["peak_of_full"] <= 1


def test_logits_answers_and_audio(document: dict[str, Any]) -> None:
    length = document["lengths"][0]
    assert length["logits"]["bytes"] == {"unpruned": 166 * 512 * 4, "pruned": 106 * 512 * 4}
    assert not length["logits"]["logits_to_keep"]
    assert set(length["decode"]) == {"unpruned", *RATIOS}
    assert set(length["end_to_end"]["ratios"]) == set(RATIOS)
    total = length["end_to_end"]["unpruned"]["seconds"]["median"]
    assert total > length["end_to_end"]["inputs"]["seconds"]["median"] > 0


def test_a_cut_model_stands_for_all_layers_of_the_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, whole = SHAPES["qwen2.5-omni-3b-cut"], SHAPES["qwen2.5-omni-3b"]
    assert (cut.layers, cut.cut_from, cut.share) == (3, 36, 3 / 36)
    differing = {key for key in whole.text if cut.text[key] != whole.text[key]}
    assert differing == {"num_hidden_layers", "vocab_size"}

    monkeypatch.setitem(SHAPES, "tiny", dataclasses.replace(TINY, cut_from=40))
    path = tmp_path / "cut.json"
    options = ["--device", "cpu", "--shape", "tiny", "--seconds", "4", "--repeats", "1"]
    done = CliRunner().invoke(app, [*options, "--sections", "selectors", "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert "the first 4 of 40 layers" in done.stdout
    (length,) = json.loads(path.read_text("utf-8"))["lengths"]
    assert "prefill" not in length
    part = length["selectors"]
    for entry in part["selectors"].values():
        times = entry["selecting"]["median"] / part["full"]["seconds"]["median"]
        assert entry["selecting_of_full"]["median"] == pytest.approx(times / 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shape", "huge"], "there is no shape 'huge'; known are qwen2.5-omni-3b"),
        (["--shape", "tiny", "--ratios", "1"], "ratio 1 is outside"),
        (["--shape", "tiny", "--sections", "speed"], "no section 'speed'; known are prefill, sel"),
        (["--shape", "tiny", "--seconds", "x"], "holds what is no number"),
        (["--shape", "tiny", "--seconds", "0.5"], "outside [1, 3600]"),
        (["--shape", "tiny", "--device", "gpu"], "is no device"),
        (["--shape", "tiny", "-o", "nowhere/x.json"], "nowhere is not a folder"),
    ],
)
def test_bad_options(options: list[str], message: str) -> None:
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 2
    assert message in done.stderr


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from benchmarks.prefill import app;"
        "done = CliRunner().invoke(app, ['--help']); assert done.exit_code == 0, done.output;"
        "assert '--ratios' in done.stdout; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_values_of_a_round_belong_together() -> None:
    order: list[str] = []

    def run(name: str) -> dict[str, float]:
        order.append(name)
        return {"seconds": len(order)}

    taken = interleaved({name: partial(run, name) for name in "abc"}, repeats=2)
    assert order == [*"cab", *"abc", *"bca"]  # the first round warms up
    assert taken["a"]["seconds"] == [4, 9]
    assert summary([4.0, 1.0, 2.0]) == {
        "median": 2,
        "quartiles": [1.5, 3],
        "repeats": [4, 1, 2],
    }
    assert summary([3.0])["quartiles"] == [3, 3]


def test_live_bytes_counts_what_lives_at_once() -> None:
    before = torch.ones(1000)
    with LiveBytes() as live:
        first = before + 1
        shown = first.view(10, 100)[2:]
        first += 1
        assert live.now == 4000
        second = torch.cat([first, first])
        del first, second
        assert live.now == 4000  # the view is left
        del shown
        assert live.now == 0
        before.double()
    assert live.now == 0
    assert live.peak == 4000 + 8000


@torch.no_grad()
def test_the_last_logits_are_those_of_all(bench: Bench) -> None:
    inputs = prompts.synthetic(TINY, 2, CPU, 0).inputs
    wanted = bench.model(**inputs).logits
    with last_logits(bench.model):
        found = bench.model(**inputs).logits
    assert found.shape == (1, 1, 512)
    torch.testing.assert_close(found, wanted[:, -1:])
    assert bench.model(**inputs).logits.shape == wanted.shape


def test_synthetic_prompts_are_as_long_as_those_of_recordings() -> None:
    inputs = prompts.FrontEnd(TINY, 0).inputs(prompts.recording(3, 0), CPU)
    assert torch.equal(inputs["input_ids"], prompts.synthetic(TINY, 3, CPU, 0).input_ids)


def test_weights_are_drawn_in_their_dtype_and_tables_are_real() -> None:
    """In the dtype of the true shapes, by the way that draws theirs on the GPU."""
    shape = dataclasses.replace(TINY, dtype="bfloat16")
    model, again = (models.random_thinker(shape, CPU, 0) for _ in range(2))
    assert torch.get_default_dtype() == torch.float32
    for name, weight in model.named_parameters():
        assert weight.dtype == torch.bfloat16, name
        assert torch.equal(weight, again.get_parameter(name))
    plain = models.random_thinker(TINY, CPU, 0)
    for name, table in model.named_buffers():
        assert table.dtype == torch.float32, name
        assert torch.equal(table, plain.get_buffer(name)), name
    spread = model.model.language_model.layers[0].mlp.up_proj.weight.float().std()
    assert spread == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ("name", "decoder", "head"),
    [
        # what is published of Qwen2.5-3B, whose embeddings are tied, and of Qwen2.5-7B
        ("qwen2.5-omni-3b", 3_085_938_688, 0),
        ("qwen2.5-omni-7b", 7_615_616_512, 152064 * 3584),
    ],
)
def test_true_shapes_have_their_size(name: str, decoder: int, head: int) -> None:
    model = models.random_thinker(SHAPES[name], torch.device("meta"), 0)
    assert models.parameters(model.model.language_model) + head == decoder
    assert models.parameters(model.model.audio_tower) == pytest.approx(0.64e9, rel=0.02)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    attention = model.model.language_model.layers[0].self_attn
    assert attention.head_dim == 128
