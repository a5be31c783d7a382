"""The whole calibration on a small random thinker: a sound bundle, the same one twice."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from calibrate.cli import app
from calibrate.estimation.ablation import BOTH_KINDS
from calibrate.estimation.bench import Bench, kept_by, kept_by_frame
from calibrate.estimation.calibration import calibrate
from calibrate.estimation.choosing.choices import ROUTES, TEXTS
from calibrate.estimation.choosing.fitting import Routing
from calibrate.estimation.choosing.material import Router, routed_weights
from calibrate.estimation.choosing.segmenting import PATH, cut
from calibrate.estimation.command import _sizes
from calibrate.estimation.samples.known import heard
from calibrate.estimation.samples.sample import shipped_samples
from calibrate.estimation.samples.usable import check_samples, limited
from calibrate.inspection import contents
from calibrate.terminal.progress import Progress
from headrouter_core import AdaptiveSegments, Frame, HeadRouter, Need, prune, scoring
from headrouter_core.errors import UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.routing import GROUPS, VECTORS

RATIOS = (0.6, 0.9)


def run(loaded, samples, **more):
    with Progress(Console(stderr=True)) as progress:
        return calibrate(loaded, samples, layer=2, ratios=RATIOS, seed=0, progress=progress, **more)


@pytest.fixture(scope="module")
def samples():
    return shipped_samples(3, seconds=6.0)


@pytest.fixture(scope="module")
def calibrated(loaded, samples):
    return run(loaded, samples)


def test_bundle_is_byte_identical_when_made_twice(loaded, samples, calibrated, tmp_path):
    again = run(loaded, samples)
    calibrated.save(tmp_path / "a.safetensors")
    again.save(tmp_path / "b.safetensors")
    first, second = ((tmp_path / f"{x}.safetensors").read_bytes() for x in "ab")
    assert first == second
    assert str(tmp_path).encode() not in first


def test_bundle_holds_what_the_samples_say(loaded, samples, calibrated):
    used = [sample for sample in samples if not sample.held_out]
    assert calibrated.calibration["samples"] == [sample.id for sample in used]
    assert calibrated.results["samples"] == len(samples) - len(used)
    assert calibrated.calibration["heard"] == heard(samples)
    spread = calibrated.tensors["calibration.spread"]
    acoustic = torch.tensor([sample.group == "acoustic" for sample in used])
    assert calibrated.centers[0] == pytest.approx(float(spread[~acoustic].mean()))
    assert calibrated.centers[2] == pytest.approx(float(spread[acoustic].mean()))
    assert set(calibrated.tensors["calibration.audio_tokens"].tolist()) == {150}
    assert calibrated.model.family == "qwen2_5_omni"


def test_profile_prunes_what_the_calibration_judged(loaded, samples, calibrated):
    """The workbench and the selector in the engine keep the same tokens."""
    sample = samples[0]
    bench = Bench(loaded, sample, 2)
    text = calibrated.recipe.text_tokens
    probe = bench.probe(text)
    inputs = loaded.place(loaded.frontend.inputs([sample.read()], sample.prompt))
    router = Router(
        Routing(calibrated.centers.numpy(), calibrated.bandwidth), calibrated.rule.numpy()
    )
    for route in ROUTES:
        selector = HeadRouter(calibrated, route=route)
        weights = routed_weights(bench, text, route, router, calibrated.vectors)
        expected = kept_by(probe, weights, 0.6, calibrated.recipe.prefilter_exponent)
        with torch.inference_mode(), prune(loaded.model, selector, 0.6) as trace:
            loaded.model(**inputs)
        assert trace[0].kept.tolist() == expected.tolist()


def test_workbench_loss_is_the_pruned_models_own(loaded, samples, calibrated):
    """The replayed loss equals that of generate's pruned forward on prompt and answer."""
    sample = samples[-1]
    bench = Bench(loaded, sample, 2)
    kept = scoring.frame_indices(bench.audio_tokens, scoring.keep_count(bench.audio_tokens, 0.9))
    (outcome,) = bench.outcomes([kept])
    whole = loaded.place(
        loaded.frontend.inputs([sample.read()], sample.prompt, answer=sample.answer)
    )
    prompt = loaded.frontend.inputs([sample.read()], sample.prompt)["input_ids"].shape[1]
    with torch.inference_mode(), prune(loaded.model, Frame(), 0.9, layer=2):
        logits = loaded.model(**whole).logits[0]
    assert outcome.nll == pytest.approx(loss(logits, whole["input_ids"][0, prompt:]), rel=1e-5)


def test_segments_are_chosen_by_what_the_engine_does(loaded, samples, calibrated):
    """The replayed loss of adaptive segments, states replaced, is the pruned model's own."""
    parameters = calibrated.recipe.selector_parameters["adaptive_segments"]
    validated = calibrated.calibration["validation"]["segments"]
    assert list(validated) == [f"{ratio:g}/{step}" for ratio in RATIOS for step in range(len(PATH))]
    assert len(set(validated.values())) > len(RATIOS)
    assert parameters["route"] == calibrated.recipe.route
    assert all(parameters["by_ratio"][f"{ratio:g}"] in PATH for ratio in RATIOS)
    sample = samples[0]
    bench = Bench(loaded, sample, 2)
    text = calibrated.recipe.text_tokens
    whole = loaded.place(
        loaded.frontend.inputs([sample.read()], sample.prompt, answer=sample.answer)
    )
    answer = torch.tensor(loaded.frontend.answer_ids(sample.answer))
    weights = calibrated.vectors[VECTORS.index("pooled")]
    for step in PATH:
        selection = cut(bench, text, weights, step, 0.9)
        (outcome,) = bench.outcomes([selection])
        selector = Kept(selection)
        with torch.inference_mode(), prune(loaded.model, selector, 0.9, layer=2):
            logits = loaded.model(**whole).logits[0]
        assert outcome.nll == pytest.approx(loss(logits, answer), rel=1e-5)
        inputs = loaded.place(loaded.frontend.inputs([sample.read()], sample.prompt))
        ours = AdaptiveSegments(calibrated, route="pooled", **step)
        with torch.inference_mode(), prune(loaded.model, ours, 0.9) as trace:
            loaded.model(**inputs)
        assert trace[0].kept.tolist() == selection.kept.tolist()


def test_the_path_of_segments_begins_at_frame(loaded, samples):
    bench = Bench(loaded, samples[0], 2)
    heads = len(bench.probe("all"))
    for ratio in (0.3, *RATIOS):
        selection = cut(bench, "all", torch.full((heads,), 1 / heads), PATH[0], ratio)
        assert selection.states is None
        assert selection.kept.tolist() == kept_by_frame(bench.audio_tokens, ratio).tolist()


def test_the_papers_recipe_mixes_by_spread(loaded, samples):
    few = [sample for sample in samples if sample.task in ("digits", "event")]
    profile = run(loaded, few, recipe="paper", kinds=BOTH_KINDS)
    assert profile.recipe.route == "auto"
    assert profile.recipe.ablation == BOTH_KINDS
    assert set(profile.calibration["validation"]["route"]) == {"auto", "oracle"}
    assert not any("last" in pair for pair in profile.calibration["validation"]["probe"])


class Kept:
    """A selector that returns what was chosen before."""

    name = "kept"
    needs = Need.NOTHING
    text_tokens = "all"

    def __init__(self, selection):
        self.selection = selection

    def __call__(self, view, k):
        return self.selection


def loss(logits, answer):
    """Mean NLL of an answer [n] by the logits [L, vocabulary] of prompt and answer."""
    predicted = logits[-len(answer) - 1 : -1].float()
    return float(torch.nn.functional.cross_entropy(predicted, answer))


def test_kept_sets_are_run_once(loaded, samples, monkeypatch):
    bench = Bench(loaded, samples[0], 2)
    sets = [torch.arange(60), torch.arange(60), torch.arange(1, 61)]
    first = bench.outcomes(sets)
    monkeypatch.setattr(bench, "_run", lambda *_: pytest.fail("ran again"))
    assert bench.outcomes(sets) == first
    assert first[0] == first[1] != first[2]


def test_stability_compares_seeds_and_sizes(loaded, calibrated):
    def draw(count, seed):
        drawn = shipped_samples(count, seed=seed, seconds=6.0)
        return [sample for sample in drawn if sample.task in ("digits", "event")]

    longer = [s for s in shipped_samples(1, seconds=12.0, report=0) if s.task == "event"]
    profile = run(loaded, draw(3, 0), other_lengths=longer, again=draw, sizes=(3, 4))
    found = profile.results["stability"]
    assert found["per_category"] == {"small": 3, "large": 4}
    assert set(found["change"]) == {"0", "1", "2"}
    small = found["small"]["0"]["centers"]
    assert small != found["small"]["1"]["centers"]
    for fit in (found["large"], *found["small"].values()):  # each made its own choices
        assert fit["choices"]["route"] in ROUTES
        assert fit["choices"]["text_tokens"] in TEXTS
        assert set(fit["choices"]["segments"]) == {"0.6", "0.9"}
    large = found["large"]["centers"]
    for row, group in enumerate(GROUPS):
        change = found["change"]["0"]["centers"][group]
        assert change == pytest.approx(abs(small[row] - large[row]) / large[row], abs=1e-3)
    assert [row["audio_tokens"] for row in profile.results["by_length"]] == [[150, 150], [300, 300]]
    assert "semantic" not in profile.results["by_length"][1]


def test_stability_takes_half_of_a_manifest():
    everything = shipped_samples(6, seconds=6.0)
    assert _sizes(2, everything, Path("m.jsonl")) == (2, 3)
    with pytest.raises(UsageError, match=r"3 samples a category with half .* at most 3; lower"):
        _sizes(3, everything, Path("m.jsonl"))


def test_limit_keeps_groups_and_the_report():
    whole = shipped_samples(6, seconds=6.0)
    assert limited(whole, None) == whole
    few = limited(whole, 60)
    assert len(few) == 60
    check_samples(few)
    with pytest.raises(UsageError, match="raise"):
        check_samples(limited(whole, 10))


def test_inspect_json_has_the_promised_keys(calibrated):
    data = json.loads(json.dumps(contents.to_json(calibrated)))
    assert set(data["centers"]) == set(GROUPS)
    assert set(data["weights"]) == {*GROUPS, "pooled"}
    assert data["recipe"]["route"] in ROUTES
    routing = data["results"]["routing"]
    for name in ("pooled", "oracle", "mixture", "uniform", "auc"):
        assert routing[name] >= 0
    assert {"bandwidth", "model", "recipe", "calibration", "schema"} <= set(data)
    heads = calibrated.model.heads
    assert all(len(vector) == heads for vector in data["weights"].values())
    assert np.shape(data["calibration"]["ablation"]) == (1, 9, 2, heads)


def test_calibrate_and_inspect_on_the_command_line(thinker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    call = ["calibrate", "--model", str(thinker), "--per-category", "3", "--limit", "60"]
    result = runner.invoke(app, [*call, "--json"])
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["output"] == "small-thinker.safetensors"
    assert Profile.load(data["output"]).digest == data["digest"]

    again = runner.invoke(app, call)
    assert again.exit_code == 2
    assert "--force" in again.stderr

    shown = runner.invoke(app, ["inspect", data["output"], "--plot", "picture.png"])
    assert shown.exit_code == 0, shown.stderr
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    for word in ("Head weights", "Spread", "held-out samples", "Compared with Frame"):
        assert word in shown.stdout
    assert len(shown.stdout.splitlines()) <= 40
    everything = runner.invoke(app, ["inspect", data["output"], "--all"])
    for word in ("Head weights", "Spread", "Head ablation", "Provenance", data["digest"][:16]):
        assert word in everything.stdout
    as_json = runner.invoke(app, ["inspect", data["output"], "--json"])
    assert json.loads(as_json.stdout)["digest"] == data["digest"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--ratios", "0"], 2, "prunes nothing"),
        (["--ratios", "0.6,1.2"], 2, "outside"),
        (["--ratios", "0.6,0.60"], 2, "twice"),
        (["--model", "tiny-onmi"], 2, "Did you mean tiny-omni"),
        (["--data", "none.jsonl"], 2, "no such manifest"),
        (["--limit", "5"], 2, "raise"),
    ],
)
def test_bad_options(tmp_path, monkeypatch, options, code, message):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["calibrate", *options])
    assert result.exit_code == code
    assert message in result.stderr
    assert not list(tmp_path.iterdir())
