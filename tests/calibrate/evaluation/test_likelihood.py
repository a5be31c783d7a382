"""Option scores and divergence against sums over float64 probabilities."""

import numpy as np
import pytest
import torch

from calibrate.evaluation.scoring.likelihood import divergence, option_scores

VARIANTS, VOCABULARY = 4, 11


def random_logits(*shape, seed=0, scale=3.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def probabilities(logits):
    exponential = np.exp(logits.double().numpy())
    return exponential / exponential.sum(-1, keepdims=True)


def test_option_scores_are_log_probabilities():
    ids = [torch.tensor([3]), torch.tensor([1, 4, 10]), torch.tensor([2, 2])]
    logits = [random_logits(VARIANTS, len(i), VOCABULARY, seed=n) for n, i in enumerate(ids)]
    scores = option_scores(logits, ids)
    for column, (option, tokens) in enumerate(zip(logits, ids, strict=True)):
        chain = probabilities(option)[:, np.arange(len(tokens)), tokens.numpy()].prod(axis=1)
        np.testing.assert_allclose(scores.summed[:, column], np.log(chain), rtol=1e-5)
        np.testing.assert_allclose(
            scores.per_token[:, column], np.log(chain) / len(tokens), rtol=1e-5
        )
    assert scores.chosen(by_token=False).tolist() == scores.summed.argmax(1).tolist()
    assert scores.chosen(by_token=True).tolist() == scores.per_token.argmax(1).tolist()


def test_length_decides_between_the_two():
    """Two tokens of probability 0.4 each against one of 0.3: longer, but likelier per token."""
    short = torch.log(torch.tensor([[[0.3, 0.7]]]))
    long = torch.log(torch.tensor([[[0.4, 0.6], [0.4, 0.6]]]))
    scores = option_scores([short, long], [torch.tensor([0]), torch.tensor([0, 0])])
    assert scores.chosen(by_token=False).tolist() == [0]
    assert scores.chosen(by_token=True).tolist() == [1]


def test_of_equal_options_the_first():
    same = torch.zeros(2, 1, 3)
    scores = option_scores([same, same], [torch.tensor([0]), torch.tensor([1])])
    assert scores.chosen(by_token=True).tolist() == [0, 0]


def test_half_precision_is_summed_in_float32():
    logits = random_logits(VARIANTS, 30, VOCABULARY)
    ids = torch.arange(30) % VOCABULARY
    exact = option_scores([logits.bfloat16().float()], [ids])
    assert torch.equal(option_scores([logits.bfloat16()], [ids]).summed, exact.summed)


def test_divergence_is_the_mean_over_tokens():
    logits, vanilla = random_logits(VARIANTS, 5, VOCABULARY), random_logits(5, VOCABULARY, seed=9)
    p, q = probabilities(vanilla), probabilities(logits)
    expected = (p * np.log(p / q)).sum(-1).mean(-1)
    np.testing.assert_allclose(divergence(logits, vanilla), expected, rtol=1e-5)
    # not symmetric: it is vanilla's tokens that count
    assert not np.allclose(divergence(logits, vanilla), (q * np.log(q / p)).sum(-1).mean(-1))


def test_no_change_is_exactly_zero_and_shifts_are_no_change():
    vanilla = random_logits(6, VOCABULARY)
    same = torch.stack([vanilla, vanilla + 5.0])
    found = divergence(same, vanilla)
    assert found[0] == 0
    assert 0 <= found[1] < 1e-6


def test_ruled_out_tokens():
    vanilla = torch.tensor([[0.0, 0.0, -torch.inf]])
    open_minded = torch.zeros(1, 1, 3)
    assert divergence(open_minded, vanilla).item() == pytest.approx(np.log(3 / 2))
    assert divergence(vanilla[None], vanilla).item() == 0
    # a variant that rules out what vanilla says is infinitely far
    assert divergence(vanilla[None], torch.zeros(1, 3)).item() == np.inf


@pytest.mark.parametrize(
    ("logits", "ids", "message"),
    [
        ([], [], "no options"),
        ([torch.zeros(1, 0, 3)], [torch.tensor([], dtype=torch.long)], "0 tokens"),
        ([torch.zeros(1, 2, 3)], [torch.tensor([0])], "1 tokens has logits for 2"),
    ],
)
def test_options_that_do_not_fit(logits, ids, message):
    with pytest.raises(ValueError, match=message):
        option_scores(logits, ids)


@pytest.mark.parametrize("shape", [(4, 3), (5, 4), (0, 3)])
def test_vanilla_that_does_not_fit(shape):
    with pytest.raises(ValueError, match="do not fit"):
        divergence(torch.zeros(2, 5 if shape[0] else 0, 3), torch.zeros(shape))
