"""Two simple classifiers of mean-pooled states, as X-ARES probes audio encoders.

X-ARES (arXiv 2505.16369; jimbozhang/xares): ``knn`` votes among the 10 nearest embeddings,
``linear`` is a LayerNorm and one linear layer. Sets are small here: the linear layer is trained for
at least ``UPDATES`` updates, and its last state is used, as no part is set aside to choose one.

All systems are classified at once, from the same draws, so that what differs is what they kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn import functional

from headrouter_core.errors import HeadRouterError

#: Embeddings that vote, and the temperature of their cosines.
NEIGHBOURS, TEMPERATURE = 10, 0.07
EPOCHS, UPDATES, BATCH, RATE = 10, 300, 32, 1e-3
FOLDS = 5


def knn(known: torch.Tensor, classes: torch.Tensor, asked: torch.Tensor, seed: int) -> torch.Tensor:
    """Classify by the nearest embeddings, each vote weighted by softmax(cosine / T).

    Args:
        known: [S, n, D], embeddings of S systems.
        classes: LongTensor [n].
        asked: [S, m, D].
        seed: not used; nothing is drawn.

    Returns:
        LongTensor [S, m].
    """
    cosine = functional.normalize(asked, dim=-1) @ functional.normalize(known, dim=-1).mT
    nearest = cosine.topk(min(NEIGHBOURS, known.shape[1]), dim=-1)
    votes = (nearest.values / TEMPERATURE).softmax(-1)
    count = int(classes.max()) + 1
    total = votes.new_zeros(*votes.shape[:2], count)
    total.scatter_add_(-1, classes[nearest.indices], votes)
    return total.argmax(-1)


def linear(
    known: torch.Tensor, classes: torch.Tensor, asked: torch.Tensor, seed: int
) -> torch.Tensor:
    """Classify by LayerNorm and one linear layer, trained with Adam and a cosine schedule.

    Args:
        known: [S, n, D], embeddings of S systems; a classifier is trained on each.
        classes: LongTensor [n].
        asked: [S, m, D].
        seed: of the first weights and the order of batches, the same for all systems.

    Returns:
        LongTensor [S, m].
    """
    systems, number, width = known.shape
    count = int(classes.max()) + 1
    draws = torch.Generator().manual_seed(seed)
    first = (2 * torch.rand(width, count, generator=draws) - 1) / width**0.5
    with torch.inference_mode(False), torch.enable_grad():
        known, asked = (functional.layer_norm(x, (width,)).clone() for x in (known, asked))
        gain = torch.ones(systems, 1, width, requires_grad=True)
        shift = torch.zeros(systems, 1, width, requires_grad=True)
        weight = first.repeat(systems, 1, 1).requires_grad_()
        bias = torch.zeros(systems, 1, count, requires_grad=True)
        batch = min(BATCH, number)
        updates = max(EPOCHS * (number // batch), UPDATES)
        optimizer = torch.optim.Adam([gain, shift, weight, bias], lr=RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates, RATE / 10)
        order = torch.empty(0, dtype=torch.long)
        for _ in range(updates):
            if len(order) < batch:
                order = torch.randperm(number, generator=draws)
            chosen, order = order[:batch], order[batch:]
            logits = (known[:, chosen] * gain + shift) @ weight + bias
            # summed over systems: Adam moves each one's weights by its own gradient alone
            losses = functional.cross_entropy(
                logits.flatten(0, 1), classes[chosen].repeat(systems), reduction="sum"
            )
            optimizer.zero_grad()
            (losses / batch).backward()
            optimizer.step()
            schedule.step()
        said: torch.Tensor = ((asked * gain + shift) @ weight + bias).argmax(-1)
        return said


Probe = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]
PROBES: dict[str, Probe] = {"linear": linear, "knn": knn}


@contextmanager
def scikit_learn(whom: str) -> Iterator[None]:
    """Raise ``HeadRouterError``, with what ``whom`` takes to install, where an import fails."""
    try:
        yield
    except ImportError as error:
        raise HeadRouterError(
            f"{whom} scikit-learn; install it with: pip install scikit-learn (or headrouter[paper])"
        ) from error


def crossed(
    probe: Probe,
    states: torch.Tensor,
    classes: Sequence[int],
    clusters: Sequence[str],
    seed: int,
) -> torch.Tensor:
    """Classify every sample by a probe that has seen no sample of its cluster.

    Args:
        probe: one of ``PROBES``.
        states: float32 [S, n, D], mean-pooled, of S systems.
        classes: class of each sample, from 0 up.
        clusters: speaker or clip of each sample, some class with several.
        seed: of folds and training.

    Returns:
        LongTensor [S, n].

    Raises:
        HeadRouterError: scikit-learn is not installed.
    """
    with scikit_learn("probes need"):
        from sklearn.model_selection import StratifiedGroupKFold
    wanted = torch.tensor(classes)
    most = min(FOLDS, len(set(clusters)), int(wanted.bincount().max()))
    folds = StratifiedGroupKFold(most, shuffle=True, random_state=seed)
    found = torch.empty(states.shape[:2], dtype=torch.long)
    with warnings.catch_warnings():
        # a class that is rarer than there are folds is not in each of them, which is no fault
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        splits = list(folds.split(np.zeros(len(classes)), classes, clusters))
    for known, asked in splits:
        found[:, asked] = probe(states[:, known], wanted[known], states[:, asked], seed)
    return found
