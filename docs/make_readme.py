"""Write what was measured into README.md, docs/results.md and the profile's card.

``python -m docs.make_readme`` takes the numbers from ``benchmarks/results``, the shipped profile
and ``docs/demo.json``, and puts them between ``<!-- name: … -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from calibrate.sharing.card import card, heldout_table
from docs.cost_table import costs
from docs.make_demo import RECORD as DEMO
from docs.results_table import evaluations, facts, promise, results_section, short_table
from headrouter_core.basics.writing import write
from headrouter_core.profile.profile import Profile
from tiny_omni.card import RESULTS, accuracy_table

ROOT = Path(__file__).parent.parent
README, PAGE = ROOT / "README.md", ROOT / "docs" / "results.md"
PROFILE = ROOT / "profiles" / "tiny-omni.safetensors"


def readme(text: str) -> str:
    """README.md with its numbers made anew."""
    found = evaluations()["all"]
    demo = json.loads(DEMO.read_text("utf-8"))
    return filled(
        text,
        {
            "promise": promise(found),
            "picture": _picture(demo),
            "command": f"```console\n$ {demo['command']}\n{demo['printed']}```",
            "table": short_table(found),
        },
    )


def results_page(text: str) -> str:
    """docs/results.md with its tables made anew."""
    return filled(
        text,
        {
            "accuracy": accuracy_table(json.loads(RESULTS.read_text("utf-8"))),
            "profile": heldout_table(Profile.load(PROFILE)),
            "results": results_section(evaluations()),
            "facts": facts(evaluations()),
            "costs": costs(),
        },
    )


def filled(text: str, parts: dict[str, str]) -> str:
    """Return a text with the parts put between their marks.

    Raises:
        ValueError: a part has no place in the text, or several.
    """
    for name, part in parts.items():
        pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)"
        # doubled, a backslash of the part is none of the replacement's
        filling = "\\g<1>" + part.replace("\\", r"\\") + "\n\\g<2>"
        text, found = re.subn(pattern, filling, text, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"there are {found} places for {name!r}, expected 1")
    return text


def _picture(demo: dict[str, Any]) -> str:
    """Return the picture with what it shows in words."""
    first = demo["asked"][0]
    answers = "; ".join(f"“{a['question']}” {a['pruned']}" for a in demo["asked"])
    kept = f"{len(first['kept'])} of {first['audio_tokens']}"
    return f"![Spectrogram with {kept} audio tokens lit; answers: {answers}](docs/images/demo.png)"


def main() -> None:
    """Write README.md, docs/results.md and the profile's card."""
    for path, made in ((README, readme), (PAGE, results_page)):
        write(path, made(path.read_text("utf-8")).encode(), force=True)
    write(
        PROFILE.with_suffix(".md"), card(Profile.load(PROFILE), PROFILE.stem).encode(), force=True
    )


if __name__ == "__main__":
    main()
