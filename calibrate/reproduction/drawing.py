"""The figures of one set, each in both themes with what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from calibrate.commands.reproduce import Reproduce
from calibrate.evaluation.comparing.costs import costs_of
from calibrate.evaluation.scoring.systems import VANILLA, System
from calibrate.evaluation.showing.plots import examples_drawn, heads, scores
from calibrate.evaluation.showing.wording import in_families
from calibrate.planning.blueprint import draw
from calibrate.planning.costs import Costs
from calibrate.planning.hearing import read_prompt
from calibrate.reproduction import figures as painted
from calibrate.reproduction.numbers import ORACLE, contrasts, overlaps, separation
from calibrate.reproduction.part import Part
from calibrate.terminal.pages import data_uri
from headrouter_core.scoring import keep_count

#: At which the paper shows kept tokens (figure 3).
SHOWN = 0.6


@dataclass(frozen=True)
class Drawn:
    """One figure."""

    name: str
    title: str
    light: str
    """Data URIs."""
    dark: str
    said: str
    """In one or two sentences."""
    numbers: Any = None
    """What it shows, JSON-ready."""


def figures(part: Part, request: Reproduce) -> list[Drawn]:
    """Draw what the set has data for.

    Raises:
        HeadRouterError: scikit-learn is not installed, or the sound of an example is missing.
    """
    return [
        *_profiles(part, request.seed),
        *_kept(part),
        *_heads(part, request.seed),
        *_memory(part, request),
        *_variants(part),
    ]


def _both(name: str, title: str, pictures: list[bytes], said: str, numbers: Any = None) -> Drawn:
    light, dark = (data_uri("image/png", picture) for picture in pictures)
    return Drawn(name, title, light, dark, said, numbers)


def _profiles(part: Part, seed: int) -> Iterator[Drawn]:
    rows = contrasts(part.found, seed)
    if not rows:
        return
    right = sum(row.expected is True for row in rows)
    wrong = sum(row.expected is False for row in rows)
    yield _both(
        "figure 2",
        "Figure 2: semantic against acoustic profile",
        [painted.profiles(rows, dark) for dark in (False, True)],
        f"Of {len(rows)} comparisons the group's own profile is better in {right}, the other one in"
        f" {wrong}; the rest are ties: the interval of the paired difference contains 0.",
        [
            {
                "group": row.group,
                "ratio": row.ratio,
                "semantic": round(row.values[0], 3),
                "acoustic": round(row.values[1], 3),
                "difference": row.difference.as_dict(),
                "verdict": row.difference.verdict,
            }
            for row in rows
        ],
    )


def _kept(part: Part) -> Iterator[Drawn]:
    if not part.examples.get("items"):
        return
    shares = overlaps(part.examples, SHOWN)
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    listed = ", ".join(f"{name} {share:.2f}" for name, share in ranked)
    pictures = [
        examples_drawn(part.found, part.examples, part.folder, dark, SHOWN)[0]
        for dark in (False, True)
    ]
    count = len(part.examples["items"])
    yield _both(
        "figure 3",
        f"Figure 3: tokens that are kept at ratio {SHOWN:g}",
        pictures,
        f"Share of the kept tokens that the oracle of {ORACLE} keeps too, mean of {count} items"
        f" (drawn at random: {1 - SHOWN:.2f}): {listed}.",
        {name: round(share, 4) for name, share in ranked},
    )


def _heads(part: Part, seed: int) -> Iterator[Drawn]:
    found = part.found
    yield _both(
        "figure 5",
        "Figure 5: selectivity of heads by task",
        [heads.heatmap(found, dark) for dark in (False, True)],
        "Which heads look at few audio tokens, by task, before pruning.",
    )
    apart = separation(found, seed)
    if apart is not None:
        yield _both(
            "figure 6",
            "Figure 6: items by their heads",
            [painted.plane(apart, dark) for dark in (False, True)],
            f"Whether an item is semantic or acoustic, told from its heads' selectivity: AUC"
            f" {apart.auc:.2f} on unseen speakers and clips (chance .50). Silhouette"
            f" {apart.silhouette:.2f} (0: the groups lie in each other). t-SNE's places are for the"
            " eye: its distances mean little.",
            {"auc": round(apart.auc, 4), "silhouette": round(apart.silhouette, 4)},
        )
    yield _both(
        "figure 7",
        "Figure 7: routing by task",
        [heads.routing(found, "headrouter:auto", dark) for dark in (False, True)],
        "How much of the semantic, uniform and acoustic weights the inputs of a task get.",
    )


def _memory(part: Part, request: Reproduce) -> Iterator[Drawn]:
    found = part.found
    tasks = [task for task in part.layout.columns if task in found.scored_tasks]
    if not tasks:
        return
    peaks, counted = _peaks(part, request)
    how = (
        "Peaks are counted from the model's shapes, for the mean length of the set: what a selector"
        " itself holds is not in them, so methods of one ratio stand above each other."
        if counted
        else "Peaks are measured on the GPU, weights included."
    )
    yield _both(
        "figure 8",
        "Figure 8: each task's score against peak memory",
        [painted.memory(found, tasks, peaks, counted, dark) for dark in (False, True)],
        how,
        {"counted": counted, "bytes": [[*system, round(b)] for system, b in peaks.items()]},
    )


def _peaks(part: Part, request: Reproduce) -> tuple[dict[System, float], bool]:
    """Return the peak bytes of each system, and whether they are counted and not measured."""
    found = part.found
    measured = {
        system: cost.peak_bytes
        for system, cost in costs_of(part.timing).items()
        if cost.peak_bytes is not None
    }
    if len(measured) == len(found.systems):
        return measured, False
    blueprint = draw(
        request.model,
        revision=request.revision,
        dtype=found.evaluation["dtype"],
        trust_remote_code=request.trust_remote_code,
    )
    costs, layer = Costs.of(blueprint), found.evaluation["layer"]
    tokens = round(sum(item["audio_tokens"] for item in found.items) / len(found.items))
    text = read_prompt(blueprint, "Which?").text
    peaks: dict[System, float] = {}
    for system in found.systems:
        kept = tokens if system == VANILLA else keep_count(tokens, system[1])
        peaks[system] = costs.peak(costs.columns(tokens + text, kept + text, layer)).bytes
    return peaks, True


def _variants(part: Part) -> Iterator[Drawn]:
    found = part.found
    names = [n for n in in_families(found.methods) if n.startswith("headrouter")]
    if found.averages:
        yield _both(
            "figure 9",
            "Figure 9: HeadRouter without its parts",
            [scores.against_ratio(found, names, "Variants", dark) for dark in (False, True)],
            "auto is the paper's HeadRouter; headrouter routes as the profile's recipe says.",
        )
