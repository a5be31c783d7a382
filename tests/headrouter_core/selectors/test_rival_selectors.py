"""The rivals, each against itself written once more as slow NumPy."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrouter_core.errors import UsageError
from headrouter_core.pruning.context import prune
from headrouter_core.selectors import DART, AffinityMerge, Energy, FastV, Segmentwise
from headrouter_core.selectors.base import View

from ..checking import reference
from ..checking.views import make_view
from ..tiny.families import decoder_layers
from ..tiny.models import AUDIO, batch, row, thinker

seeds = st.integers(0, 10**6)
lengths = st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


def view_of(length, seed):
    return make_view(length, seed=seed, dtype=torch.float64, scale=0.7)


def cosine(a, b):
    return float(a @ b) / (np.sqrt(float(a @ a)) * np.sqrt(float(b @ b)))


def states_view(states):
    states = torch.tensor(states, dtype=torch.float64)
    return View(len(states), torch.device("cpu"), 0, hidden_states=states)


# fastv


@given(seeds, lengths)
def test_fastv_equals_reference(seed, length):
    audios, k = length
    view = view_of(audios, seed)
    selection = FastV()(view, k)
    attention = view.last_attention.double().numpy()
    mean = [sum(head[i] for head in attention) / len(attention) for i in range(audios)]
    np.testing.assert_allclose(selection.importance, mean, rtol=1e-5)
    assert selection.kept.tolist() == reference.top_k(selection.importance.tolist(), k)


@torch.no_grad()
def test_fastv_ranks_by_the_attention_that_the_model_pays():
    inputs = batch([row("system", 11, "and", 9, "which?"), row("s", 9, "why")])
    model = thinker("eager")
    paid = model(**inputs, output_attentions=True).attentions[1].mean(1)[:, -1]
    with prune(model, FastV(), 0.6, 2) as trace:
        model(**inputs)
    for entry, ids, attention in zip(trace, inputs["input_ids"], paid, strict=True):
        wanted = attention[ids == AUDIO]
        torch.testing.assert_close(entry.importance, wanted, rtol=1e-5, atol=1e-8)
        assert entry.kept.tolist() == reference.top_k(wanted.tolist(), len(entry.kept))


# dart


def dart(keys, states, k, pivots):
    audios = keys.shape[1]
    norms = [sum(abs(x) for head in keys[:, i] for x in head) for i in range(audios)]
    first = sorted(range(audios), key=lambda i: (-norms[i], i))[: min(pivots, k)]
    each, more = divmod(k - len(first), len(first))
    kept = set(first)
    for turn, pivot in enumerate(first):
        rest = [i for i in range(audios) if i not in kept]
        rest.sort(key=lambda i: (cosine(states[i], states[pivot]), i))
        kept |= set(rest[: each + (turn < more)])
    return sorted(kept)


@given(seeds, lengths, st.sampled_from([1, 3, 8]))
def test_dart_equals_reference(seed, length, pivots):
    audios, k = length
    view = view_of(audios, seed)
    kept = DART(pivots=pivots)(view, k).kept.tolist()
    assert kept == dart(view.rotated_keys.numpy(), view.hidden_states.numpy(), k, pivots)


def test_dart_keeps_one_of_many_copies():
    view = make_view(40)
    states = view.hidden_states[:2].repeat_interleave(20, dim=0)
    keys = torch.ones_like(view.rotated_keys)
    keys[:, 5] = 3
    copies = View(40, view.device, 0, rotated_keys=keys, hidden_states=states)
    assert DART(pivots=1)(copies, 4).kept.tolist() == [5, 20, 21, 22]


# segmentwise


def segmentwise(importance, k, segments):
    audios, segments = len(importance), min(segments, k)
    order = sorted(range(audios), key=lambda i: (-importance[i], i))
    kept = set()
    for segment in range(segments):
        kept |= set([i for i in order if i * segments // audios == segment][: k // segments])
    rest = [i for i in order if i not in kept]
    return sorted(kept | set(rest[: k - len(kept)]))


@given(seeds, lengths, st.sampled_from([1, 2, 7, 10, 100]))
def test_segmentwise_equals_reference(seed, length, segments):
    audios, k = length
    view = view_of(audios, seed)
    selection = Segmentwise(segments=segments)(view, k)
    probe = reference.probe(view.queries.numpy(), view.keys.numpy(), 0.7)
    np.testing.assert_allclose(selection.importance, probe.mean(0), rtol=1e-6)
    assert selection.kept.tolist() == segmentwise(selection.importance.tolist(), k, segments)


def test_segmentwise_leaves_no_segment_out():
    view = make_view(250)
    kept = Segmentwise()(view, 25).kept
    counts = (kept * 10 // 250).bincount(minlength=10)
    assert counts.min() >= 2
    assert (Segmentwise(segments=1)(view, 25).kept * 10 // 250).bincount(minlength=10).min() == 0


# affinity merge


def merge(states, k):
    """Merge the most similar neighbours, pair after pair."""
    runs = [[i] for i in range(len(states))]
    while len(runs) > k:
        links = [
            cosine(states[left[-1]], states[right[0]]) for left, right in itertools.pairwise(runs)
        ]
        best = int(np.argmax(links))
        runs[best : best + 2] = [runs[best] + runs[best + 1]]
    means = [sum(states[i] for i in run) / len(run) for run in runs]
    return [run[(len(run) - 1) // 2] for run in runs], np.array(means)


@given(seeds, lengths)
def test_affinity_merge_equals_reference(seed, length):
    audios, k = length
    view = view_of(audios, seed)
    selection = AffinityMerge()(view, k)
    kept, means = merge(view.hidden_states.numpy(), k)
    assert selection.kept.tolist() == kept
    np.testing.assert_allclose(selection.states, means, rtol=1e-12, atol=1e-12)


def test_affinity_merge_joins_neighbours_only():
    east, north = [1.0, 0.0], [0.0, 2.0]
    selection = AffinityMerge()(states_view([east, east, north, north, north, north, east]), 3)
    assert selection.kept.tolist() == [0, 3, 6]
    assert selection.states.tolist() == [east, north, east]


def test_affinity_merge_means_keep_their_accuracy_over_long_runs():
    view = make_view(7500)
    states = view.hidden_states.abs() + 1000
    selection = AffinityMerge()(View(7500, view.device, 0, hidden_states=states), 1)
    np.testing.assert_allclose(selection.states[0], states.double().mean(0), rtol=1e-5)
    assert selection.kept.tolist() == [3749]


@torch.no_grad()
def test_affinity_merge_averages_what_enters_the_pruning_layer():
    inputs = batch([row("system", 20, "which?")])
    model = thinker("sdpa")
    entering = model(**inputs, output_hidden_states=True).hidden_states[2]
    kept, means = merge(entering[inputs["input_ids"] == AUDIO].double().numpy(), 8)
    found = []

    def note(module, args):
        found.append(args[0])

    layer = decoder_layers(model)[2]
    # registered behind the engine's hook, it sees what the layer gets
    with prune(model, AffinityMerge(), 0.6, 2) as trace, layer.register_forward_pre_hook(note):
        model(**inputs)
    assert trace[0].kept.tolist() == kept
    first = inputs["input_ids"][0].tolist().index(AUDIO)
    put_in = found[0][0, first : first + 8]
    np.testing.assert_allclose(put_in, means, rtol=1e-4, atol=1e-5)


# energy


@given(seeds, lengths)
def test_energy_equals_reference(seed, length):
    audios, k = length
    # few values, so many ties
    loudness = torch.randint(0, 5, (audios,), generator=torch.Generator().manual_seed(seed))
    selection = Energy([loudness])(View(audios, torch.device("cpu"), 0), k)
    assert selection.kept.tolist() == reference.top_k(loudness.tolist(), k)
    assert selection.importance.tolist() == loudness.tolist()


def test_energy_takes_the_loudness_of_its_row():
    rows = [torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])]
    selector = Energy(rows)
    chosen = [selector(View(2, torch.device("cpu"), n), 1).kept.item() for n in range(4)]
    assert chosen == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("loudness", "message"),
    [
        ([], "no loudness"),
        ([torch.ones(4), torch.ones(3)], r"loudness 1 has shape \[3\] and row 5 has 4 audio"),
        ([torch.ones(1, 4)], r"loudness 0 is a torch.float32 tensor \[1, 4\]"),
        ([[0.5, 0.5]], r"loudness 0 is \[0.5, 0.5\]"),
        (None, "loudness is None"),
    ],
)
def test_loudness_that_does_not_fit_is_refused(loudness, message):
    with pytest.raises(UsageError, match=message):
        Energy(loudness)(View(4, torch.device("cpu"), 5), 2)


@pytest.mark.parametrize(("kind", "name"), [(DART, "pivots"), (Segmentwise, "segments")])
def test_settings_below_one_are_refused(kind, name):
    with pytest.raises(UsageError, match=f"{name} is 0; it must be a whole number from 1 up"):
        kind(**{name: 0})
