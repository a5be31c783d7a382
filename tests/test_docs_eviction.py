"""What the page on eviction shows is what was measured."""

from docs import make_eviction


def test_tables_are_fresh():
    page = make_eviction.PAGE.read_text("utf-8")
    assert make_eviction.filled(page) == page


def test_every_family_is_in_the_table_or_named_with_its_reason():
    from headrouter_core import families

    page = make_eviction.PAGE.read_text("utf-8")
    shown = "\n".join(make_eviction.exactness())
    for family in families.FAMILIES:
        refused = family.name in ("gemma3n", "gemma4")
        assert refused or f"| {family.name} |" in shown
    assert "Gemma 3n and Gemma 4 are refused" in page
