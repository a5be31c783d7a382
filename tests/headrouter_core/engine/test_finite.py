"""What is not finite ends in an error that says where it began; what may be, is let be."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from calibrate.estimation.replay.layers import replay
from calibrate.estimation.replay.prefix import capture
from headrouter_core import families
from headrouter_core.errors import NonFiniteError, SelectionError
from headrouter_core.pruning.context import prune
from headrouter_core.pruning.inputs import prune_inputs
from headrouter_core.selectors import Frame, HeadRouter
from headrouter_core.selectors.base import Need, Selection

from ..checking.bundles import make_profile
from ..checking.probes import Affinity
from ..tiny.families import decoder_layers
from ..tiny.models import batch, row, thinker

ONE = batch([row("system", 20, "question?")])
THREE = batch([row("system", 20, "question?"), row("s", 9, "why"), row("only text")])
every_ratio = pytest.mark.parametrize("ratio", [0, 0.6])


def damaged(part="self_attn.q_proj", layer=1, value=math.nan):
    model = thinker()
    with torch.no_grad():
        decoder_layers(model)[layer].get_submodule(part).weight[3, 5] = value
    return model


@every_ratio
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("part", "layer"), [("self_attn.q_proj", 1), ("self_attn.k_proj", 0), ("mlp.down_proj", 4)]
)
@torch.no_grad()
def test_a_damaged_weight_is_named(part, layer, value, ratio):
    model = damaged(part, layer, value)
    where = rf"the weight .*layers\.{layer}\.{part}\.weight holds NaN or infinity"
    for inputs in (ONE, THREE):
        with pytest.raises(NonFiniteError, match=where) as caught, prune(model, Frame(), ratio):
            model.generate(**inputs, max_new_tokens=2)
        assert caught.value.weight.endswith(f"{part}.weight")
    with pytest.raises(NonFiniteError, match=where):
        capture(model, ONE, 2)
    if layer < 2:
        with pytest.raises(NonFiniteError, match=where):
            prune_inputs(model, ONE, Frame(), ratio)


@torch.no_grad()
def test_a_profile_routes_no_broken_prompt():
    model = damaged()
    profile = make_profile(model=families.model_info(model, 2))
    for call in (lambda: model(**ONE), lambda: model(**ONE, return_dict=False)):
        with pytest.raises(NonFiniteError), prune(model, HeadRouter(profile), 0.6):
            call()


@every_ratio
@torch.no_grad()
def test_broken_inputs_are_named(ratio):
    features = ONE["input_features"].clone()
    features[0, 0, 5] = math.inf
    model = thinker()
    with (
        pytest.raises(NonFiniteError, match="input_features holds NaN or infinity"),
        prune(model, Frame(), ratio),
    ):
        model(**{**ONE, "input_features": features})


@torch.no_grad()
def test_an_overflow_is_placed():
    model = thinker().half()
    inputs = {**ONE, "input_features": ONE["input_features"].half()}
    decoder_layers(model)[3].mlp.down_proj.weight *= 1e5
    for selector in (Frame(), Scoring(states=lambda k, n: torch.ones(k, 64))):
        with (
            pytest.raises(NonFiniteError, match=r"keys of layer 4\. .*torch.float16 overflows"),
            prune(model, selector, 0.6),
        ):
            model(**inputs, use_cache=True)
    with pytest.raises(NonFiniteError, match=r"first so: .*layers\.3\.mlp\.down_proj\. Weights"):
        capture(model, inputs, 2)


@torch.no_grad()
def test_others_run_the_model_while_the_place_is_looked_for():
    model, runs, others = thinker().half(), [], []
    inputs = {**ONE, "input_features": ONE["input_features"].half()}
    decoder_layers(model)[3].mlp.down_proj.weight *= 1e5
    main = threading.get_ident()

    def beside(module, args):
        if threading.get_ident() != main:
            return
        runs.append(None)
        if len(runs) == 2:  # the first time nobody looks
            with ThreadPoolExecutor() as pool:
                others.append(pool.submit(lambda: model(**inputs).logits).result())

    decoder_layers(model)[0].register_forward_pre_hook(beside)
    with pytest.raises(NonFiniteError, match=r"layers\.3\.mlp\.down_proj"):
        capture(model, inputs, 2)
    assert others[0].isnan().any()


@every_ratio
@pytest.mark.parametrize("step", [1, 3])
@torch.no_grad()
def test_a_later_step_of_generate(ratio, step):
    model, forwards = thinker(), []

    def spoil(module, args, output):
        forwards.append(None)
        return output * math.nan if len(forwards) == 1 + step else output

    model.get_output_embeddings().register_forward_hook(spoil)
    with (
        pytest.raises(NonFiniteError, match=r"behind a generated token .*float32 overflows"),
        prune(model, Frame(), ratio),
    ):
        model.generate(**THREE, max_new_tokens=5)


@torch.no_grad()
def test_the_row_is_named():
    features = THREE["input_features"].clone()
    features[1] = math.nan  # of the second recording
    model = thinker()
    with pytest.raises(NonFiniteError, match="row 1 of 3"), prune(model, Frame(), 0.6):
        model(**{**THREE, "input_features": features})


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padding_may_be_anything(side):
    rows = [row("system", 20, "question?"), row("s", 9, "why"), row("only text")]
    inputs, model = batch(rows, side), thinker()
    padding = ~inputs["attention_mask"].bool()

    def spoil(module, args, output):
        return output.masked_fill(padding[..., None], math.nan)

    decoder_layers(model)[-1].register_forward_hook(spoil)
    with prune(model, Affinity(), 0) as trace:
        assert model(**inputs).logits.isnan().any()
    assert len(trace) == 3


@every_ratio
@torch.no_grad()
def test_tokens_may_be_ruled_out(ratio):
    model = thinker()
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda _, args, logits: logits.index_fill(-1, BARRED, -math.inf))
    with prune(model, Affinity(), ratio):
        model.generate(**THREE, max_new_tokens=2, suppress_tokens=[7])
    prefix = capture(model, ONE, 2, prompt_length=ONE["input_ids"].shape[1] - 2)
    assert replay(model, prefix, torch.arange(8)[None]).isneginf().any()


BARRED = torch.tensor([3, 5])


class Scoring:
    """A selector whose scores are as they are told to be."""

    name, needs, text_tokens = "scoring", Need.NOTHING, "all"

    def __init__(self, **parts):
        self.parts = parts

    def __call__(self, view, k):
        parts = {name: make(k, view.audio_tokens) for name, make in self.parts.items()}
        return Selection(torch.arange(k), **parts)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("importance", lambda k, n: torch.full((n,), math.nan)),
        ("importance", lambda k, n: torch.arange(n).float().index_fill(0, BARRED, math.inf)),
        ("importance", lambda k, n: torch.arange(n).float().index_fill(0, BARRED, -math.inf)),
        ("spread", lambda k, n: torch.tensor(math.nan)),
        ("mixing", lambda k, n: torch.tensor([0.5, math.nan, 0.5])),
    ],
)
@torch.no_grad()
def test_scores_that_are_not_finite(name, make):
    model = thinker()
    for call in (
        lambda: prune_inputs(model, ONE, Scoring(**{name: make}), 0.6),
        lambda: pruned(model, Scoring(**{name: make})),
    ):
        with pytest.raises(SelectionError, match=f"scoring returned {name} with NaN or infinity"):
            call()


def pruned(model, selector):
    with prune(model, selector, 0.6):
        model(**ONE)


@torch.no_grad()
def test_unscored_tokens_are_nan():
    model = thinker()
    pruned(model, Scoring(importance=lambda k, n: torch.rand(n).index_fill(0, BARRED, math.nan)))


@torch.no_grad()
def test_states_that_are_not_finite():
    """They reach the logits, for which the model is not blamed."""
    model = thinker()
    spoiled = Scoring(states=lambda k, n: torch.full((k, 64), math.inf))
    with pytest.raises(SelectionError, match="states with NaN or infinity"):
        pruned(model, spoiled)
