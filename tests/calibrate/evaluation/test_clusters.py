"""Components and cluster names."""

from calibrate.evaluation.scoring.clusters import components, merged


def test_sets_that_share_members_hang_together():
    numbers = components([{"a", "b"}, {"c"}, {"b", "d"}, {"d"}, {"e"}]).tolist()
    assert numbers[0] == numbers[2] == numbers[3]
    assert len({numbers[0], numbers[1], numbers[4]}) == 3


def test_clusters_are_named_by_their_first_clip():
    assert merged([["z", "b"], ["c"], ["z", "a"], ["c"]]) == ["a", "c", "a", "c"]


def test_nothing():
    assert merged([]) == []
