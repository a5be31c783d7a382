"""What a profile is worth, in a few lines: read from the report that it carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from calibrate.inspection.routing_words import routing_doubts, routing_sentence
from calibrate.inspection.verdicts import METHODS
from headrouter_core.profile.profile import Profile

#: Fewest speakers and source clips that can tell two methods apart: where n of them all favour the
#: same one, chance does that in 2 of 2^n cases, and 6 is the first n for which these are below 5 %.
#: (A bootstrap over two speakers gives three different values, and its interval means nothing.)
TELLING = 6
#: Nats per answer token by which the loss may rise at a ratio that is called safe: a token that had
#: a probability of 80 % has at least 76 %.
SAFE = 0.05

_UNPRUNED = "no pruning"
#: Rival in the report -> its name here.
_RIVALS = {"uniform weights": "uniform weights", "frame": "Frame"}
_WORDS = {"better": "better", "worse": "WORSE", "tie": "a tie", "withheld": "too few speakers"}
#: Lines of the whole verdict, and of ratios where there is room.
_LINES, _RATIOS = 9, 3

Estimate = dict[str, Any]


def worth(profile: Profile) -> Iterator[str]:
    """Yield what a profile is worth, in at most 9 lines of at most 79 characters.

    Whether it is better than uniform weights and than Frame, which pruning ratio is safe, what
    speaks against trusting that or else what routing is worth, and the differences with their
    intervals.
    """
    said = list(sentences(profile))
    yield from said
    yield from table(profile.results, min(_RATIOS, _LINES - 2 - len(said)))


def sentences(profile: Profile) -> Iterator[str]:
    """Yield the verdict in words."""
    results = profile.results
    if not results:
        yield "No verdict: the profile was not tried on samples that took no part in it."
        return
    if not _told(results):
        clusters = results["clusters"]
        yield f"No verdict: {clusters} speakers or clips carry the report, and fewer than"
        yield f"{TELLING} cannot tell methods apart; calibrate on recordings of more of them."
    else:
        for rival, name in _RIVALS.items():
            yield f"Compared with {name}: {_sentence(_compared(results, rival))}."
        yield _safety(results)
    if "pooled" in profile.calibration["groups"].values():
        yield "Routing could not be tested: the questions name no groups."
    if doubt := _doubt(profile):  # where there is one, all routes keep the same tokens
        yield f"Beware: {doubt}."
    elif sentence := routing_sentence(results):
        yield sentence


def safe_ratio(results: Mapping[str, Any]) -> float | None:
    """Return the largest ratio up to which every one in the report is safe, if there is one.

    Safe is a ratio at which the loss rises over that without pruning by less than :data:`SAFE`, at
    the upper end of its 95 % interval.
    """
    safe = None
    rises = _rises(results)
    for ratio in _ascending(results):
        number = _number(ratio)
        if not (_told(results) and number < 1 and ratio in rises and rises[ratio]["high"] < SAFE):
            break
        safe = number
    return safe


def doubts(profile: Profile) -> list[str]:
    """What a user of this profile should know before trusting it, a sentence each."""
    found = []
    if profile.recipe.weights_rule == "uniform":
        found.append(
            "The head weights are uniform: no weighting of heads was better in cross-validation, "
            "so routing between the vectors changes nothing."
        )
    if profile.recipe.prefilter_exponent == 1.0:
        found.append("The prefilter exponent is 1: the kept tokens are exactly those of Frame.")
    if _centers_overlap(profile):
        found.append(
            "The 95 % intervals of the semantic and the acoustic center overlap: spread hardly "
            "tells the groups apart on these samples."
        )
    return [*found, *routing_doubts(profile.results)]


def _doubt(profile: Profile) -> str | None:
    """Return the gravest of :func:`doubts` in a few words."""
    if profile.recipe.prefilter_exponent == 1.0:
        return "the prefilter exponent is 1, so kept tokens are exactly Frame's"
    if profile.recipe.weights_rule == "uniform":
        return "no weighting of heads was better in cross-validation; all are even"
    if "routing" not in profile.results and _centers_overlap(profile):
        return "spread hardly tells semantic from acoustic; routing does little"
    return None


def _centers_overlap(profile: Profile) -> bool:
    intervals = profile.calibration.get("intervals", {})
    low, high = intervals.get("centers.semantic"), intervals.get("centers.acoustic")
    return bool(low and high and max(low[0], high[0]) <= min(low[1], high[1]))


def _told(results: Mapping[str, Any]) -> bool:
    """Whether enough speakers and clips carry the report; older ones do not say how many do."""
    return bool(results.get("clusters", TELLING) >= TELLING)


def _ascending(results: Mapping[str, Any]) -> list[str]:
    return sorted(results["ratios"], key=_number)


def _number(ratio: str) -> float:
    try:
        return float(ratio)
    except ValueError:  # whoever made the file named it otherwise
        return float("inf")


def _compared(results: Mapping[str, Any], rival: str) -> dict[str, Estimate]:
    """Return ratio -> comparison of headrouter with a rival."""
    return {
        ratio: found
        for ratio in _ascending(results)
        for found in results["ratios"][ratio]["comparisons"]
        if (found["method"], found["rival"]) == (METHODS[0], rival)
    }


def _rises(results: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return ratio -> how far the loss is above that without pruning, where that was measured."""
    entries = results["ratios"]
    return {ratio: entries[ratio]["rise"] for ratio in entries if "rise" in entries[ratio]}


def _sentence(compared: dict[str, Estimate]) -> str:
    """Say at which ratios there is which verdict, the good news first."""
    parts = []
    for verdict, word in _WORDS.items():
        ratios = [ratio for ratio, found in compared.items() if found["verdict"] == verdict]
        if ratios:
            few = len(compared) <= _RATIOS
            at = ", ".join(ratios) if few else f"{len(ratios)} of {len(compared)} ratios"
            parts.append(f"{word} at {at}")
    return "; ".join(parts) or "not tried"


def _safety(results: Mapping[str, Any]) -> str:
    if not _rises(results):
        return "Which ratio is safe was not measured; a new calibration does."
    if (ratio := safe_ratio(results)) is not None:
        return f"Safe up to ratio {ratio:g}: NLL rises by less than {SAFE:g} over no pruning."
    return f"No ratio is shown to be safe, that is, to raise NLL by less than {SAFE:g}."


def table(results: Mapping[str, Any], most: int = _RATIOS) -> Iterator[str]:
    """Yield headrouter minus the others, with 95 % intervals: at most so many lines of ratios."""
    if not results:
        return
    columns = {name: _compared(results, rival) for rival, name in _RIVALS.items()}
    columns[_UNPRUNED] = _rises(results)
    columns = {name: found for name, found in columns.items() if found}
    if not columns:
        return
    ratios = _ascending(results)
    shown = ratios if len(ratios) <= most else ratios[: most - 1]
    carried = f" of {results['clusters']} speakers or clips" if "clusters" in results else ""
    yield f"NLL (nats/token) on {results['samples']} held-out samples{carried}, minus that of"
    yield " ratio " + "".join(f"{name:<25}" for name in columns).rstrip()
    for ratio in shown:
        cells = [_interval(found[ratio]) if ratio in found else "" for found in columns.values()]
        yield f" {ratio:<5} " + "".join(f"{cell:<25}" for cell in cells).rstrip()
    if shown != ratios:
        yield f" and {len(ratios) - len(shown)} more ratios: headrouter inspect --all"


def _interval(found: Estimate) -> str:
    return f"{found['difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
