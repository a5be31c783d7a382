"""The parts of a profile as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from calibrate.inspection.verdicts import METHODS, bases, strength, verdicts
from calibrate.terminal.console import WARNING
from headrouter_core.profile.profile import Profile
from headrouter_core.routing import GROUPS, VECTORS

_BLOCKS = " ▏▎▍▌▋▊▉█"
_LEVELS = " ▁▂▃▄▅▆▇█"
#: Groups of samples; those whose group was not told are pooled.
SAMPLED = ("semantic", "acoustic", "pooled")
#: One colour per vector, each read on white and on black.
COLOURS = {
    "semantic": "color(33)",
    "uniform": "color(244)",
    "acoustic": "color(166)",
    "pooled": "color(28)",
}


def facts_table(profile: Profile, title: str) -> RenderableType:
    """Which model and which method."""
    model, recipe = profile.model, profile.recipe
    table = Table.grid(padding=(0, 2))
    table.add_row("model", f"{model.id}" + (f" @ {model.revision}" if model.revision else ""))
    table.add_row(
        "probe",
        f"layer {model.probe_layer} of {model.layers} ({model.family}), {model.heads} query and "
        f"{model.kv_heads} kv heads of {model.head_dim}",
    )
    table.add_row(
        "method",
        f"{recipe.selector}: prune before layer {recipe.layer}, text tokens: {recipe.text_tokens}, "
        f"prefilter exponent {recipe.prefilter_exponent:g}",
    )
    table.add_row("weights from", strength(recipe))
    for selector, settings in recipe.selector_parameters.items():
        by_ratio = settings.get("by_ratio", {})
        plain = {name: value for name, value in settings.items() if name != "by_ratio"}
        table.add_row(selector.replace("_", " "), _named(plain))
        for ratio, found in by_ratio.items():
            table.add_row("", f"at {ratio}: {_named(found)}")
    table.add_row("fingerprint", str(model.fingerprint or "none (weights cannot be compared)"))
    return Group(Text(f"Profile {title}", style="bold"), table)


def _named(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def bar(value: float, full: float, width: int) -> str:
    """A horizontal bar of ``width`` characters for ``value`` out of ``full``, in eighths."""
    eighths = round(max(0.0, min(1.0, value / full)) * width * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (_BLOCKS[part] if part else "")).ljust(width)


def weights_table(profile: Profile) -> RenderableType:
    """The weight vectors as bars, one row a head."""
    heads = profile.model.heads
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("head", justify="right")
    full = float(profile.vectors.max())
    names = VECTORS[: len(profile.vectors)]
    for name in names:
        table.add_column(name)
    for head in range(heads):
        cells = [
            Text(f"{float(w):.3f} {bar(float(w), full, 10)}", style=COLOURS[name])
            for name, w in zip(names, profile.vectors[:, head], strict=True)
        ]
        table.add_row(str(head), *cells)
    return Group(Text(f"Head weights (even would be {1 / heads:.4f})", style="bold"), table)


def spreads_table(profile: Profile, width: int = 40) -> RenderableType:
    """Histogram of each task's spreads over one axis, and the three Gaussians below."""
    spread = profile.tensors["calibration.spread"].numpy()
    names = np.array(profile.calibration["sample_tasks"])
    centers, sigma = profile.centers.numpy(), profile.bandwidth
    low = min(spread.min(), centers.min() - sigma)
    high = max(spread.max(), centers.max() + sigma)
    table = Table.grid(padding=(0, 1))
    intervals = profile.calibration.get("intervals", {})
    for task in profile.calibration["tasks"]:
        values = spread[names == task]
        counts, _ = np.histogram(values, bins=width, range=(low, high))
        line = "".join(_LEVELS[min(8, 2 * int(count))] if count else "·" for count in counts)
        colour = COLOURS[profile.calibration["groups"][task]]
        mean = f"{values.mean():.3f}" if len(values) else "none"
        table.add_row(Text(task, style=colour), Text(line, style=colour), mean)
    axis = np.linspace(low, high, width)
    for name, center in zip(GROUPS, centers, strict=True):
        curve = np.exp(-((axis - center) ** 2) / (2 * sigma**2))
        line = "".join(_LEVELS[round(float(height) * 8)] for height in curve)
        interval = intervals.get(f"centers.{name}")
        note = f"{center:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
        table.add_row(Text(f"{name} center"), Text(line, style=COLOURS[name]), note)
    table.add_row("", f"{low:<{width // 2}.3f}{high:>{width - width // 2}.3f}", "")
    heading = f"Spread of {len(spread)} calibration samples; bandwidth {sigma:.4f}"
    return Group(Text(heading, style="bold"), table)


def ablation_table(profile: Profile) -> RenderableType:
    """One table a kind: per head and group, averaged over tasks; single tasks are in ``--json``."""
    means = profile.tensors["calibration.ablation"].double().numpy()
    errors = profile.tensors["calibration.ablation_stderr"].double().numpy()
    tasks, groups = profile.calibration["tasks"], profile.calibration["groups"]
    parts: list[RenderableType] = [
        Text("Head ablation: NLL of the ablated minus of all heads, nats/token", style="bold")
    ]
    for k, kind in enumerate(profile.recipe.ablation):
        table = Table(box=None, padding=(0, 1), header_style="bold", title_justify="left")
        table.add_column(f"{kind.replace('_', ' ')}\nhead", justify="right")
        columns = []
        for r, ratio in enumerate(profile.calibration["ratios"]):
            for group in SAMPLED:
                rows = [i for i, task in enumerate(tasks) if groups[task] == group]
                if not rows:
                    continue
                table.add_column(f"r = {ratio:g}\n{group}", justify="right", style=COLOURS[group])
                error = np.sqrt((errors[k, rows, r] ** 2).sum(axis=0)) / len(rows)
                columns.append((means[k, rows, r].mean(axis=0), error))
        for head in range(profile.model.heads):
            cells = [f"{mean[head]:+.3f} ±{error[head]:.3f}" for mean, error in columns]
            table.add_row(str(head), *cells)
        parts += [table, ""]
    return Group(*parts[:-1])


def results_table(results: Mapping[str, Any]) -> RenderableType:
    """The held-out report: losses, accuracies, and a plain sentence for each comparison."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    methods = list(next(iter(results["ratios"].values()))["nll"])
    # the order of the report, then what else another version compared
    methods.sort(key=lambda name: METHODS.index(name) if name in METHODS else len(METHODS))
    for name in ("ratio", "unpruned", *methods):
        table.add_column(name, justify="right")
    whole = results["unpruned"]
    for ratio, entry in results["ratios"].items():
        cells = [(whole["nll"], whole["accuracy"])]
        cells += [(entry["nll"][name], entry["accuracy"][name]) for name in methods]
        table.add_row(ratio, *(f"{nll:.3f} ({accuracy:.1%})" for nll, accuracy in cells))
    heading = (
        f"On {results['samples']} samples that took no part: NLL in nats/token (exact answers)"
    )
    lines = []
    for (verdict, line), basis in zip(verdicts(results), bases(results), strict=True):
        lines.append(Text(f"  {line}", style="" if verdict == "better" else WARNING))
        if basis is not None:
            lines.append(Text(f"    {basis}"))
    return Group(Text(heading, style="bold"), table, *lines)


def lengths_table(results: Mapping[str, Any]) -> RenderableType | None:
    """How spread and mixing move with the length of the audio."""
    if not results.get("by_length"):
        return None
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for title in ("audio tokens", "samples"):
        table.add_column(title, justify="right")
    for group in ("semantic", "acoustic"):
        table.add_column(f"{group}\nspread", justify="right", style=COLOURS[group])
        table.add_column("mixing\nsem / uni / aco", justify="right", style=COLOURS[group])
    for row in results["by_length"]:
        low, high = row["audio_tokens"]
        cells = [f"{low}" if low == high else f"{low}-{high}", str(row["samples"])]
        for group in ("semantic", "acoustic"):
            part = row.get(group)
            shares = " / ".join(f"{part['mixing'][name]:.2f}" for name in GROUPS) if part else ""
            cells += [f"{part['spread']:.3f}" if part else "", shares]
        table.add_row(*cells)
    return Group(Text("Routing by length of the audio", style="bold"), table)


def stability_table(results: Mapping[str, Any]) -> RenderableType | None:
    """How far smaller fits with other seeds are from a larger one."""
    found = results.get("stability")
    if not found:
        return None
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for title in ("seed", *(f"{name} center" for name in GROUPS), "bandwidth"):
        table.add_column(title, justify="right")
    for name in ("semantic", "acoustic"):
        table.add_column(f"{name} weights (TV)", justify="right")
    for seed, change in found["change"].items():
        cells = [f"{change['centers'][name]:.1%}" for name in GROUPS] + [
            f"{change['bandwidth']:.1%}"
        ]
        cells += [f"{change['weights'][name]:.3f}" for name in ("semantic", "acoustic")]
        table.add_row(seed, *cells)
    sizes = found["per_category"]
    heading = f"Change from {sizes['large']} samples a category to {sizes['small']}"
    fits = {"large": found.get("large", {}), **found.get("small", {})}
    chosen = [
        Text(f"  chosen, {seed if seed == 'large' else f'seed {seed}'}: {_choices(fit['choices'])}")
        for seed, fit in fits.items()
        if "choices" in fit
    ]
    return Group(Text(heading, style="bold"), table, *chosen)


def _choices(choices: Mapping[str, Any]) -> str:
    """Return what was chosen, but for the settings of segments, which are long."""
    return _named({name: value for name, value in choices.items() if name != "segments"})


def provenance_table(profile: Profile) -> RenderableType:
    """Where the profile comes from."""
    calibration = profile.calibration
    table = Table.grid(padding=(0, 2))
    count, tasks = len(calibration["samples"]), len(calibration["tasks"])
    table.add_row("samples", f"{count} of {tasks} tasks, manifest {calibration['manifest']}")
    tokens = profile.tensors["calibration.audio_tokens"]
    if len(tokens):
        table.add_row("audio tokens", f"{int(tokens.min())} to {int(tokens.max())}")
    table.add_row(
        "computed on",
        f"{calibration['device']}, {calibration['dtype']}, {calibration['attention']} attention, "
        f"seed {calibration['seed']}",
    )
    table.add_row("audio decoder", calibration["decoder"])
    libraries = ", ".join(f"{name} {version}" for name, version in profile.versions.items())
    table.add_row("versions", f"headrouter {profile.version}, {libraries}")
    table.add_row("digest", profile.digest)
    return Group(Text("Provenance", style="bold"), table)
