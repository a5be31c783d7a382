"""What a profile's report says of routing, in words and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

#: Losses of the routing's report, in the order in which they are shown, and what each is.
_LOSSES = {
    "pooled": "one vector (pooled)",
    "oracle": "true group (oracle)",
    "mixture": "by spread (mixture)",
    "selectivity": "by a rule",
    "semantic": "semantic always",
    "acoustic": "acoustic always",
    "uniform": "uniform",
}
#: Route -> its name among the comparisons, and in a sentence.
_ROUTED = {
    "auto": ("mixture", "by spread"),
    "hard": ("hard", "by center"),
    "selectivity": ("selectivity", "by a rule"),
}
_UNROUTED = ("oracle", "by true group")
_WORDS = {
    "better": "better than one vector",
    "worse": "WORSE than one vector",
    "tie": "a tie with one vector",
    "withheld": "too few speakers to tell",
}


def routing_sentence(results: Mapping[str, Any]) -> str | None:
    """Say whether routing is better than one vector, in at most 79 characters; None: not measured.

    Of the route that the profile takes or, where it takes one vector always, of the true group's
    vector: no router does better than one that is never wrong.
    """
    found = results.get("routing")
    if found is None:
        return None
    name, words = _ROUTED.get(found.get("route", ""), _UNROUTED)
    for compared in found.get("comparisons", []):
        if compared["method"] == name:
            numbers = "{difference:+.3f} [{low:+.3f}, {high:+.3f}]".format(**compared)
            return f"Routing {words}: {_WORDS[compared['verdict']]}, NLL {numbers}."
    return None


def routing_doubts(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield what speaks against routing by what was measured, a sentence each."""
    found = results.get("routing", {})
    width = found.get("bandwidth", {})
    if width.get("at_edge"):
        yield (
            f"The bandwidth, {width['factor']:g} times the pooled deviation, is at the edge of the"
            " grid: a still more extreme one may be better."
        )
    if width.get("wider_than_centers"):
        yield (
            "The bandwidth is wider than the centers lie apart: mixing by spread hardly differs"
            " between inputs."
        )


def routing_table(results: Mapping[str, Any]) -> RenderableType | None:
    """What routing is worth: losses side by side, differences from one vector, and separability."""
    found = results.get("routing")
    if found is None:
        return None
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("head weights")
    for title in ("NLL", "minus pooled", "right alone", "p"):
        table.add_column(title, justify="right")
    compared = {entry["method"]: entry for entry in found.get("comparisons", [])}
    for name, words in _LOSSES.items():
        if name in found:
            table.add_row(words, f"{found[name]:.3f}", *_cells(compared.get(name)))
    lines = [f"  Route taken: {found['route']}." if "route" in found else ""]
    lines.append(f"  AUC of semantic against acoustic by spread: {found['auc']:.2f}" + _rule(found))
    if unseen := found.get("unseen_task"):
        told = ", ".join(f"by {n} {s:.2f}" for n, s in unseen.items() if s is not None)
        lines.append(f"  Told right on tasks left out of the fit (0.5 is chance): {told}.")
    heading = "What routing is worth: mean NLL on samples that took no part, all ratios"
    parts: list[RenderableType] = [Text(line) for line in lines if line]
    return Group(Text(heading, style="bold"), table, *parts)


def _rule(found: Mapping[str, Any]) -> str:
    if "auc_selectivity" not in found:
        return "."
    return f", by the rule {found['auc_selectivity']:.2f}."


def _cells(compared: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield difference with interval, samples that one alone answers right, and McNemar's p."""
    if compared is None:
        return
    yield "{difference:+.3f} [{low:+.3f}, {high:+.3f}]".format(**compared)
    if answers := compared.get("answers"):
        yield f"+{answers['won']} -{answers['lost']}"
        yield f"{answers['p']:.2f}"
