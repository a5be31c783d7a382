"""One item, encoded once and asked in many ways, is what the engine gives for each way alone."""

import numpy as np
import pytest
import torch

from calibrate.estimation.replay.layers import answer_nll
from calibrate.evaluation.asking.methods import METHODS, parse_methods
from calibrate.evaluation.asking.trial import Trial
from calibrate.evaluation.datasets.scenes import scenes
from calibrate.models.asking import answer
from calibrate.models.selecting import build_selector
from headrouter_core import prune, scoring
from headrouter_core.errors import UsageError


@pytest.fixture(scope="module")
def item():
    return scenes(6.0, 1, "calibration").items[0]


@pytest.fixture(scope="module")
def trial(loaded, item):
    return Trial(loaded, item, 2, list(METHODS.values()))


def texts(loaded, *answers):
    tokenizer = loaded.frontend.tokenizer
    return [torch.tensor([*tokenizer(a)["input_ids"], tokenizer.eos_token_id]) for a in answers]


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.shortening is None])
def test_replies_are_those_of_the_engine(loaded, profile, item, trial, name):
    method, (ratio, k) = METHODS[name], (0.6, scoring.keep_count(150, 0.6))
    selection = trial.select(method, ratio, profile, seed=0)
    assert selection.kept.shape == (k,)
    given = texts(loaded, "seven two", "one")
    (reply,) = trial.ask([selection], given)

    audios = item.read()
    selector = build_selector(
        method.kind, profile=profile, seed=0, audios=audios, frontend=loaded.frontend,
        **method.options,
    )  # fmt: skip
    if name == "random":  # seeded by the item, not by the row
        selector = lambda view, k, s=selector: selection  # noqa: E731
        selector.name, selector.needs, selector.text_tokens = name, method.kind.needs, "all"
    inputs = loaded.place(loaded.frontend.inputs(audios, item.prompt))
    with prune(loaded.model, selector, ratio, 2) as trace:
        wanted = answer(loaded, inputs, item.max_new_tokens)
    assert trace[0].kept.tolist() == selection.kept.tolist()
    assert (reply.text, reply.complete) == (wanted.text, wanted.complete)
    for ids, logits in zip(given, reply.logits, strict=True):
        whole = {**inputs, "input_ids": torch.cat([inputs["input_ids"][0], ids])[None]}
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
        with torch.inference_mode(), prune(loaded.model, Fixed(selection), ratio, 2):
            forced = loaded.model(**whole).logits[:, -len(ids) - 1 : -1]
        assert float(answer_nll(logits[None], ids)) == pytest.approx(
            float(answer_nll(forced, ids)), rel=1e-4
        )


class Fixed:
    """Keeps what was selected."""

    name, text_tokens = "fixed", "all"
    needs = METHODS["frame"].kind.needs

    def __init__(self, selection):
        self.selection = selection

    def __call__(self, view, k):
        return self.selection


def test_many_selections_at_once_are_each_their_own(loaded, profile, trial):
    methods = [METHODS[name] for name in ("frame", "random", "headrouter")]
    selections = [trial.select(method, 0.9, profile, seed=0) for method in methods]
    given = texts(loaded, "three")
    together = trial.ask(selections, given)
    for selection, reply in zip(selections, together, strict=True):
        (alone,) = trial.ask([selection], given)
        assert reply.text == alone.text
        assert torch.allclose(reply.logits[0], alone.logits[0], atol=1e-4)
    assert not torch.equal(together[0].logits[0], together[1].logits[0])


def test_everything_is_vanilla(loaded, item, trial):
    (reply,) = trial.ask([trial.everything()], [])
    inputs = loaded.place(loaded.frontend.inputs(item.read(), item.prompt))
    wanted = answer(loaded, inputs, item.max_new_tokens)
    assert (reply.text, reply.complete, reply.logits) == (wanted.text, wanted.complete, ())


def test_random_depends_on_seed_and_item_only(loaded, profile, item, trial):
    draw = lambda of, seed: of.select(METHODS["random"], 0.9, profile, seed).kept  # noqa: E731
    again = Trial(loaded, item, 2, [METHODS["random"]])
    assert torch.equal(draw(trial, 0), draw(again, 0))
    assert not torch.equal(draw(trial, 0), draw(trial, 1))


def test_methods_by_name():
    assert [m.name for m in parse_methods("frame, headrouter")] == ["headrouter", "frame"]
    assert parse_methods("all") == list(METHODS.values())
    assert METHODS["headrouter:hard"].takes_profile
    assert not METHODS["frame"].takes_profile
    with pytest.raises(UsageError, match=r"no method 'frames'; known are all, headrouter"):
        parse_methods("frames")
    with pytest.raises(UsageError, match="no method is given"):
        parse_methods(" , ")


def test_loudness_of_several_recordings(loaded):
    audios = [np.zeros(16_000, np.float32), np.ones(8_000, np.float32)]
    selector = build_selector(
        METHODS["energy"].kind, profile=None, seed=0, audios=audios, frontend=loaded.frontend
    )
    (levels,) = selector.loudness
    assert levels.shape == (sum(loaded.frontend.audio_tokens(len(a)) for a in audios),)
    assert levels[:25].max() < levels[25:].min()
