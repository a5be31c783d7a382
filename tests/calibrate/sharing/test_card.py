"""What the card of a profile says."""

from dataclasses import replace

from calibrate.sharing.card import card, metadata
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.shipped import shipped_profiles
from tests.headrouter_core.checking.bundles import make_profile


def test_the_hub_can_search_by_model_and_family():
    profile = Profile.load(shipped_profiles()["tiny-omni"])
    assert metadata(profile)["base_model"] is None
    linked = replace(profile.model, id="Qwen/Qwen2.5-Omni-3B")
    found = metadata(replace(profile, model=linked))
    assert found["base_model"] == "Qwen/Qwen2.5-Omni-3B"
    assert "qwen2_5_omni" in found["tags"]


def test_text_from_outside_is_no_markdown():
    profile = make_profile()
    odd = replace(profile.model, id="a`b`\n# injected\x1b[31m")
    text = card(replace(profile, model=odd), "me/p")
    assert "\n# injected" not in text
    assert "\x1b" not in text
    assert "`a'b'" in text


def test_a_profile_without_a_report_has_no_verdict():
    text = card(replace(make_profile(), results={}), "me/p")
    assert "No verdict" in text
    assert "| ratio removed |" not in text
