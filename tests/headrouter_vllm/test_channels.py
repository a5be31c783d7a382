"""Indices behind embeddings, and the positions made of them."""

import pytest
import torch

from headrouter_vllm.channels import CHANNELS, LIMIT, placed, split, with_indices

AUDIO = 7


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_indices_come_back_exactly(dtype):
    kept = torch.tensor([0, 1, 255, 256, 257, 65535, 65536, 1234567, LIMIT - 1])
    states = torch.randn(len(kept), 5).to(dtype)
    both = with_indices(states, kept)
    assert both.shape == (len(kept), 5 + CHANNELS)
    assert both.dtype == dtype
    plain, found = split(both)
    assert torch.equal(plain, states)
    assert torch.equal(found, kept)


def whole_positions(audios):
    """Return positions, ids and the audio each token is of, of text 3, audio, text 2, audio ..."""
    ids = [1] * 3
    for count in audios:
        ids += [AUDIO] * count + [2] * 2
    return torch.arange(len(ids)).expand(3, -1), torch.tensor(ids)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
def test_kept_tokens_get_their_positions_in_any_chunks(chunk):
    audios, kept = (9, 6), ([0, 4, 5, 8], [2, 5])
    positions, ids = whole_positions(audios)
    stay = torch.ones(len(ids), dtype=torch.bool)
    start = 3
    for count, some in zip(audios, kept, strict=True):
        stay[start : start + count] = False
        stay[start + torch.tensor(some)] = True
        start += count + 2
    wanted = positions[:, stay]
    audio = ids[stay] == AUDIO
    found = wanted.clone()
    found[:, audio] = -1  # nothing may depend on what stood there ...
    # ... but what is computed reads the text before, which is right
    indices = torch.tensor([*kept[0], *kept[1]])
    for first in range(0, len(audio), chunk):
        inside = audio[first : first + chunk]
        begun = int(audio[:first].sum())
        some = indices[begun : begun + int(inside.sum())]
        before = found.clone()
        found = placed(found, audio, first, some)
        assert torch.equal(found[:, :first], before[:, :first])
    assert torch.equal(found, wanted)


def test_the_same_chunk_twice_changes_nothing():
    positions, ids = whole_positions((4,))
    audio = ids == AUDIO
    once = placed(positions, audio, 0, torch.tensor([1, 2, 7, 9]))
    assert once[0].tolist() == [0, 1, 2, 4, 5, 10, 12, 7, 8]
    assert torch.equal(placed(once, audio, 0, torch.tensor([1, 2, 7, 9])), once)


def test_audio_at_the_very_beginning_begins_at_0():
    audio = torch.tensor([True, True, False])
    found = placed(torch.arange(3).expand(3, -1), audio, 0, torch.tensor([3, 5]))
    assert found[0].tolist() == [3, 5, 2]


def test_audio_behind_a_picture_begins_behind_all_of_it():
    # a picture's tokens: time stands still, height and width go up to 4
    positions = torch.tensor([[0, 1, 1, 1, 5, 6], [0, 1, 4, 1, 5, 6], [0, 1, 2, 4, 5, 6]])
    audio = torch.tensor([False, False, False, False, True, False])
    assert placed(positions, audio, 4, torch.tensor([2]))[:, 4].tolist() == [7, 7, 7]


def test_positions_given_are_not_changed():
    positions = torch.arange(3).expand(3, -1).clone()
    placed(positions, torch.tensor([False, True, True]), 0, torch.tensor([1, 2]))
    assert torch.equal(positions, torch.arange(3).expand(3, -1))
