"""When words sound: as tools write it, and as a model's own attention tells."""

import json

import pytest
import torch

from calibrate.estimation.heads.aligning import consensus, stretches
from calibrate.estimation.heads.sources import speech
from calibrate.estimation.heads.timed import words_of
from calibrate.estimation.samples.manifests import read_manifest
from headrouter_core.errors import UsageError

WORDS = [{"word": " Hello,", "start": 0.1, "end": 0.4}, {"word": "world", "start": 0.5, "end": 1}]
CHUNKS = [{"text": " hello", "timestamp": [0.1, 0.4]}, {"text": "world.", "timestamp": [0.5, 1]}]


def line(**fields):
    common = {"task": "asr", "group": "semantic", "prompt": "Transcribe.", "answer": "Hello world!"}
    return {"audio_filepath": "a.wav", **common, **fields}


def entry(tmp_path, **fields):
    (tmp_path / "set.jsonl").write_text(json.dumps(line(**fields)) + "\n")
    (found,) = read_manifest(tmp_path / "set.jsonl")
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"words": WORDS},
        {"words": [{**word, "probability": 0.9, "score": 1} for word in WORDS]},
        {"words": [WORDS[0], {"word": "2014"}, WORDS[1]]},  # WhisperX could not align it
        {"words": [WORDS[0], {"word": "um", "start": 0.41, "end": 0.42}, WORDS[1]]},
        {"segments": [{"text": "x", "words": WORDS[:1]}, {"words": WORDS[1:]}, {"text": "y"}]},
        {"chunks": CHUNKS},
        {"words": json.dumps(WORDS)},
    ],
    ids=["whisper", "more keys", "unaligned", "not in the answer", "segments", "pipeline", "csv"],
)
def test_what_tools_write_is_taken(tmp_path, fields):
    words = words_of(entry(tmp_path, **fields))
    assert [(w.begin, w.start, w.end) for w in words] == [(0, 0.1, 0.4), (6, 0.5, 1.0)]


def test_times_are_those_of_the_file(tmp_path):
    words = words_of(entry(tmp_path, words=WORDS, offset=0.45, duration=1.0))
    assert [(w.begin, round(w.start, 6), round(w.end, 6)) for w in words] == [(6, 0.05, 0.55)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"words": "no"}, "words is no JSON"),
        ({"words": [1]}, "give a list such as"),
        ({"words": {"word": "x"}}, "give a list such as"),
        ({"words": [{"start": 0, "end": 1}]}, "needs a text in 'word'"),
        ({"words": [{**WORDS[0], "start": "0"}]}, "' Hello,' has the time '0'"),
        ({"words": [{**WORDS[0], "start": True}]}, "has the time True"),
        ({"words": [{**WORDS[0], "start": -1}]}, "give seconds from 0 on"),
        ({"words": [{**WORDS[0], "end": 0.0}]}, "sounds from 0.1 to 0 s"),
        ({"words": WORDS[::-1]}, "in the order they sound"),
        ({"chunks": [{"text": "a", "timestamp": 3}]}, "give \\[start, end\\]"),
        ({"words": WORDS, "chunks": CHUNKS}, "words and in chunks"),
        ({"words": WORDS, "answer": "seven"}, "none of the words with times"),
    ],
)
def test_what_they_do_not_is_refused_by_line(tmp_path, fields, message):
    with pytest.raises(UsageError, match=message) as raised:
        words_of(entry(tmp_path, **fields))
    assert str(raised.value).startswith(f"{tmp_path / 'set.jsonl'}:1: ")


def test_lines_with_times_go_before_transcripts_and_these_before_nothing(tmp_path):
    (tmp_path / "a.wav").touch()
    path = tmp_path / "set.jsonl"
    rows = [line(words=WORDS), line(prompt="What?", kind="transcript"), line(prompt="Who?")]
    for count, source, number in ((3, "manifest", 1), (2, "own answers", 1)):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[-count:]))
        found, told = speech(path, None, None, 0)
        assert (told, len(found)) == (source, number)
        assert bool(found[0].words) == (source == "manifest")
    path.write_text(json.dumps(rows[2]) + "\n")
    with pytest.raises(UsageError, match='"kind": "transcript"'):
        speech(path, None, None, 0)
    path.write_text(json.dumps({**rows[0], "audio_filepath": "b.wav"}) + "\n")
    with pytest.raises(UsageError, match=r"set\.jsonl:1: no such audio file"):
        speech(path, None, None, 0)


def brute(scores):
    """The best stretches, found by trying all of them."""
    words, tokens = scores.shape
    gains = (scores - scores.amax(-1, keepdim=True) / 2).cumsum(-1)
    gains = torch.nn.functional.pad(gains, (1, 0))

    def best(word, start):
        if word == words:
            return 0.0, []
        options = [
            (float(gains[word, b + 1] - gains[word, a]) + rest, [(a, b), *more])
            for a in range(start, tokens)
            for b in range(a, tokens)
            if b + 1 <= tokens - (words - word - 1)
            for rest, more in [best(word + 1, b + 1)]
        ]
        return max(options)

    return best(0, 0)


@pytest.mark.parametrize("seed", range(4))
def test_stretches_are_the_best_of_all(seed):
    scores = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed)).double()
    _, wanted = brute(scores)
    assert stretches(scores) == wanted


def test_consensus_is_what_one_word_looks_at_and_others_do_not():
    heads = [torch.full((2, 1, 3, 9), 0.01) for _ in range(2)]
    heads[1][0, 0, :, 8] = 5  # a sink, which every word looks at
    for word in range(3):
        heads[1][0, 0, word, 3 * word : 3 * word + 2] = 1
    trust = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert stretches(consensus(heads, trust)) == [(0, 1), (3, 4), (6, 7)]
