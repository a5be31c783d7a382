"""``headrouter families``: the options."""

from __future__ import annotations

from calibrate.commands.options import AsJson


def families(as_json: AsJson = False) -> None:
    """List the models that can be pruned, and what is known of each."""
    from calibrate.inspection import family_list

    family_list.run(as_json=as_json)
