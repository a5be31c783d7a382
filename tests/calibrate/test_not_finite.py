"""A damaged checkpoint, or an overflow, ends every command in an error that says where."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.estimation.bench import Bench
from calibrate.estimation.samples.sample import shipped_samples
from calibrate.evaluation.asking import run
from calibrate.evaluation.asking.methods import METHODS
from calibrate.evaluation.asking.trial import Trial
from calibrate.evaluation.datasets.scenes import scenes
from calibrate.models import named
from calibrate.models.asking import answer
from headrouter_core import Frame, NonFiniteError, prune
from headrouter_core.selectors import Selection
from tests.calibrate.helpers import spoiled

WEIGHT = r"layers\.1\.self_attn\.q_proj\.weight holds NaN or infinity; .* fetch them again"


@pytest.fixture(scope="module")
def damaged(thinker, tmp_path_factory):
    """The small thinker's folder, with one weight that is NaN."""
    folder = spoiled(thinker, tmp_path_factory.mktemp("damaged"))
    file = folder / "model.safetensors"
    weights = load_file(file)
    (name,) = [name for name in weights if name.endswith("model.layers.1.self_attn.q_proj.weight")]
    weights[name][3, 5] = math.nan
    save_file(weights, file, {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def item():
    return scenes(6.0, 1, "calibration").items[0]


@pytest.mark.parametrize("many", [False, True])
def test_prune(damaged, recordings, tmp_path, monkeypatch, many):
    monkeypatch.chdir(tmp_path)
    paths = [str(path) for path in recordings.values()][: 2 if many else 1]
    options = ["--model", str(damaged), "--method", "frame", "--device", "cpu", "--json"]
    done = CliRunner().invoke(app, ["prune", *paths, *options])
    assert done.exit_code == 1
    assert done.stderr.count("holds NaN or infinity; the model's files are damaged") == 1
    assert not done.stdout


def test_calibrate_and_evaluate(damaged, item):
    loaded = named.load(str(damaged), device="cpu")
    sample = shipped_samples(3, seconds=6.0)[0]
    with pytest.raises(NonFiniteError, match=f"{sample.id}: .*{WEIGHT}"):
        Bench(loaded, sample, 2)
    with pytest.raises(NonFiniteError, match=WEIGHT):
        Trial(loaded, item, 2, list(METHODS.values()))
    plan = run.Plan((METHODS["frame"],), (0.6,), 2, 0, None)
    with pytest.raises(NonFiniteError, match=WEIGHT):  # every item would fail: no fault of this one
        run._line(loaded, item, plan, None)


@pytest.fixture
def failing(loaded):
    """Make the small thinker's logits NaN in forwards of a single token: behind the prompt."""
    head = loaded.model.get_output_embeddings()
    counts = {"steps": 0}

    def spoil(module, args, kwargs):
        counts["steps"] = counts["steps"] + 1 if kwargs["input_ids"].shape[1] == 1 else 0

    def put(module, args, output):
        return output * math.nan if counts["steps"] == 2 else output

    handles = [
        loaded.model.register_forward_pre_hook(spoil, with_kwargs=True),
        head.register_forward_hook(put),
    ]
    yield loaded
    for handle in handles:
        handle.remove()


def test_a_later_step_overflows(failing, item):
    inputs = failing.place(failing.frontend.inputs(item.read(), item.prompt))
    with pytest.raises(NonFiniteError, match=r"answer's logits .*float32 overflows: use a wider"):
        answer(failing, inputs, 4)
    with (
        pytest.raises(NonFiniteError, match="logits behind a generated token"),
        prune(failing.model, Frame(), 0.6, 2),
    ):
        answer(failing, inputs, 4)
    trial = Trial(failing, item, 2, [METHODS["frame"]])
    with pytest.raises(NonFiniteError, match="logits behind a generated token"):
        trial.ask([Selection(torch.arange(60))], [])
    plan = run.Plan((METHODS["frame"],), (0.6,), 2, 0, None)
    assert "overflows" in run._line(failing, item, plan, None)["fault"]  # the others go on
