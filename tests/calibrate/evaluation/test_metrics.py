"""Metrics against scikit-learn and jiwer, on random inputs and at the edges."""

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from calibrate.evaluation.scoring.items import CHOICE, LABEL, TRANSCRIPT
from calibrate.evaluation.scoring.metrics import (
    HEADLINES,
    corpus_wer,
    edit_counts,
    label_counts,
    macro_f1,
    mean_wer,
    scores,
    summary,
    war,
)
from calibrate.evaluation.scoring.normalisers import NORMALISERS, audiomarathon, plain

LABELS = ("A", "B", "C", "a long label, with a comma")
WORDS = st.lists(st.sampled_from(["one", "two", "three", "four"]), max_size=8).map(" ".join)


@given(
    st.lists(
        st.tuples(st.sampled_from(LABELS[:3]), st.sampled_from([*LABELS, "other", None])),
        min_size=1,
        max_size=40,
    )
)
def test_label_metrics_are_scikit_learns(pairs):
    references, predictions = zip(*pairs, strict=True)
    # scikit-learn takes no None; a name of its own is as wrong
    named = [prediction or "unparsed" for prediction in predictions]
    labels = sorted(set(references))
    found = summary(LABEL, references, predictions)
    for name, average in (("macro_f1", "macro"), ("weighted_f1", "weighted")):
        expected = f1_score(references, named, labels=labels, average=average, zero_division=0)
        assert found[name] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(accuracy_score(references, named))
    assert found["parse_rate"] == pytest.approx(
        np.mean([prediction is not None for prediction in predictions])
    )


@given(st.lists(st.tuples(WORDS.filter(bool), WORDS), min_size=1, max_size=10))
def test_word_errors_are_jiwers(pairs):
    references, transcripts = map(list, zip(*pairs, strict=True))
    found = summary(TRANSCRIPT, references, [text or None for text in transcripts])
    assert found["corpus_wer"] == pytest.approx(jiwer.wer(references, transcripts))
    each = [jiwer.wer(*pair) for pair in pairs]
    assert found["mean_wer"] == pytest.approx(np.mean(each))
    assert found["war"] == pytest.approx(1 - jiwer.wer(references, transcripts))
    assert found["war_clipped"] == max(found["war"], 0)
    np.testing.assert_allclose(scores(TRANSCRIPT, references, transcripts), 1 - np.array(each))


def test_unparsed_is_wrong_not_left_out():
    # on the parsed answers alone this would be perfect
    found = summary(CHOICE, ["A", "A", "B", "B"], ["A", None, "B", None])
    assert found == {
        "macro_f1": pytest.approx(2 / 3),
        "weighted_f1": pytest.approx(2 / 3),
        "accuracy": 0.5,
        "parse_rate": 0.5,
    }
    np.testing.assert_array_equal(scores(CHOICE, ["A", "A"], ["A", None]), [1, 0])


def test_macro_f1_is_over_labels_that_occur_in_the_references():
    # a label that is only predicted costs its precision to no one, its misses to the others
    assert summary(LABEL, ["A", "A"], ["A", "Z"])["macro_f1"] == pytest.approx(2 / 3)


def test_macro_f1_of_sums_without_a_label():
    counts = label_counts(["A", "B"], ["A", "A"])
    np.testing.assert_allclose(macro_f1(counts), [1, 0])
    assert np.isnan(macro_f1(np.zeros((3, 2))))


@pytest.mark.parametrize("empty", [None, "", "...", " "])
def test_empty_transcript_is_all_errors(empty):
    counts = edit_counts(["one two three"], [empty])
    np.testing.assert_array_equal(counts, [[3, 3, 1, 1]])
    assert war(counts[0]) == 0


def test_war_can_be_negative():
    found = summary(TRANSCRIPT, ["one"], ["two three four"])
    assert found["war"] == pytest.approx(-2)
    assert found["war_clipped"] == 0


def test_corpus_and_mean_wer_differ():
    total = edit_counts(["one", "one two three"], ["two", "one two three"]).sum(0)
    assert corpus_wer(total) == pytest.approx(1 / 4)
    assert mean_wer(total) == pytest.approx(1 / 2)


def test_reference_without_words_is_refused():
    with pytest.raises(ValueError, match="has no words"):
        edit_counts(["..."], ["one"])


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 references and 1 predictions"):
        label_counts(["A", "B"], ["A"])
    with pytest.raises(ValueError, match="zip"):
        edit_counts(["one", "two"], ["one"])


def test_headlines():
    assert {kind: headline.name for kind, headline in HEADLINES.items()} == {
        "choice": "macro_f1",
        "label": "macro_f1",
        "transcript": "war",
    }


def test_audiomarathon_normaliser():
    assert (
        audiomarathon('Well-known: "It\'s" [so]; OK? (yes) {no}!') == "wellknown its so ok yes no"
    )
    assert audiomarathon(" \t one\n two ") == "one two"


def test_plain_normaliser():
    assert plain("  'Hi-Hat'. ") == "hi-hat"
    assert plain("Straße, “Ｃ#”!") == "strasse c#"
    assert plain("don't  stop") == "don't stop"


@given(st.sampled_from(sorted(NORMALISERS)), st.text(max_size=40))
def test_normalisers_change_nothing_twice(name, text):
    once = NORMALISERS[name](text)
    assert NORMALISERS[name](once) == once
