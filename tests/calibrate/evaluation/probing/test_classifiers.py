"""The classifiers are X-ARES's, and never see whom they are asked about."""

import numpy as np
import pytest
import torch
from torch import nn

from calibrate.evaluation.probing import classifiers
from calibrate.evaluation.probing.classifiers import PROBES, crossed, knn, linear


def drawn(systems=2, number=60, classes=3, width=8, apart=4.0):
    """States of S systems around one point a class, and their classes."""
    rng = torch.Generator().manual_seed(0)
    centers = apart * torch.randn(classes, width, generator=rng)
    wanted = torch.arange(number) % classes
    return centers[wanted] + torch.randn(systems, number, width, generator=rng), wanted


def test_neighbours_vote_by_softmax_of_their_cosines():
    states, classes = drawn(systems=1, apart=0.5)
    known, asked = states[:, :40], states[:, 40:]
    found = knn(known, classes[:40], asked, 0)[0]
    for row, said in zip(asked[0].numpy(), found.tolist(), strict=True):
        near = known[0].numpy()
        cosine = near @ row / np.linalg.norm(near, axis=1) / np.linalg.norm(row)
        best = np.argsort(-cosine)[:10]
        weights = np.exp(cosine[best] / 0.07)
        assert said == np.bincount(classes[best].numpy(), weights, minlength=3).argmax()


def test_few_samples_are_all_neighbours():
    states, classes = drawn(number=6)
    assert knn(states[:, :4], classes[:4], states[:, 4:], 0).shape == (2, 2)


@pytest.mark.parametrize("number", [21, 45])
def test_the_linear_probe_is_a_norm_and_a_linear_layer(number, monkeypatch):
    """The modules of torch, trained with the same draws, end at the same weights."""
    monkeypatch.setattr(classifiers, "UPDATES", 40)
    states, classes = drawn(number=number + 9, apart=0.5)
    known, asked, wanted = states[:, :number], states[:, number:], classes[:number]
    found = linear(known, wanted, asked, seed=3)
    draws = torch.Generator().manual_seed(3)
    first = (2 * torch.rand(8, 3, generator=draws) - 1) / 8**0.5
    for system in range(2):
        order = torch.Generator()
        order.set_state(draws.get_state())
        model = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3))
        with torch.no_grad():
            model[1].weight.copy_(first.T)
            model[1].bias.zero_()
        batch = min(32, number)
        updates = max(10 * (number // batch), 40)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates, 1e-4)
        places = torch.empty(0, dtype=torch.long)
        for _ in range(updates):
            if len(places) < batch:
                places = torch.randperm(number, generator=order)
            chosen, places = places[:batch], places[batch:]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(known[system, chosen]), wanted[chosen]).backward()
            optimizer.step()
            schedule.step()
        assert model(asked[system]).argmax(-1).tolist() == found[system].tolist()


@pytest.mark.parametrize("name", PROBES)
def test_what_is_apart_is_told_apart(name):
    states, classes = drawn(number=90)
    found = crossed(PROBES[name], states, classes.tolist(), list(map(str, range(90))), 0)
    assert float((found == classes).float().mean(1).min()) > 0.95


@pytest.mark.parametrize("name", PROBES)
def test_speakers_that_were_heard_before_give_nothing_away(name):
    """Every speaker has one place and one label that nobody can guess from others'."""
    rng = torch.Generator().manual_seed(1)
    places = 5 * torch.randn(60, 64, generator=rng)
    labels = torch.randint(2, (60,), generator=rng)
    who = torch.arange(240) % 60
    states = (places[who] + 0.1 * torch.randn(240, 64, generator=rng))[None]
    found = crossed(PROBES[name], states, labels[who].tolist(), [str(i) for i in who.tolist()], 0)
    assert 0.3 < float((found[0] == labels[who]).float().mean()) < 0.7


def test_a_system_is_classified_as_if_it_were_alone():
    states, classes = drawn(systems=3, apart=0.5)
    clusters = [str(i // 2) for i in range(60)]
    for probe in PROBES.values():
        together = crossed(probe, states, classes.tolist(), clusters, 0)
        alone = [crossed(probe, one[None], classes.tolist(), clusters, 0)[0] for one in states]
        assert together.tolist() == torch.stack(alone).tolist()


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.model_selection", None)
    states, classes = drawn()
    with pytest.raises(classifiers.HeadRouterError, match=r"headrouter\[paper\]"):
        crossed(knn, states, classes.tolist(), list(map(str, range(60))), 0)


def test_rare_classes_are_no_fault(recwarn):
    states, _ = drawn(number=7)
    classes = [0, 0, 1, 1, 2, 0, 1]
    found = crossed(knn, states, classes, list("abcdefg"), 0)
    assert found.shape == (2, 7)
    assert not [warning for warning in recwarn if "least populated" in str(warning.message)]
