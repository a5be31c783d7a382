"""``headrouter reproduce``: the paper's evaluation on the sets that are there, on one page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from calibrate.commands.evaluate import Evaluate
from calibrate.commands.reproduce import Reproduce
from calibrate.evaluation import command as evaluation
from calibrate.evaluation.folder import Folder, write
from calibrate.reproduction.part import Part
from calibrate.reproduction.published import AUDIOMARATHON, MMAU_PRO, Layout, published
from calibrate.reproduction.tables import as_dict, table, text
from calibrate.terminal.console import say, show, show_json, warned, working
from calibrate.terminal.errors import SomeFailedError
from headrouter_core.basics import writing
from headrouter_core.errors import UsageError
from headrouter_core.profile import bundle

RATIOS = "0.3,0.6,0.9"
#: Of tables 1 to 3 and figure 9; ours; the two profiles of figure 2, and the oracle of figure 3.
METHODS = (
    "random,fastv,dart,frame,headrouter:auto,headrouter,adaptive_segments,headrouter:hard,"
    "headrouter:no-router,headrouter:no-prefilter,headrouter:semantic,headrouter:acoustic,energy"
)
#: Items whose kept tokens are held against the oracle's.
EXAMPLES = 12


def run(request: Reproduce) -> None:
    """Do what the command line asks.

    Raises:
        UsageError: neither set is given, or an option is out of range.
        SomeFailedError: items could not be asked; the page is written all the same.
        ProfileError, ModelError, HeadRouterError: as of ``headrouter evaluate``.
    """
    given = {AUDIOMARATHON: request.audiomarathon, MMAU_PRO: request.mmau_pro}
    if not any(given.values()):
        raise UsageError("give the folder of a set: --audiomarathon DIR, --mmau-pro DIR, or both")
    page, record = request.output / "reproduction.html", request.output / "reproduction.json"
    parts = [_asked(request, layout, path) for layout, path in given.items() if path]
    paper = published(parts[0].found.evaluation["model"]["id"])
    tables = [table(part.found, part.layout, paper) for part in parts]
    missing = list(_missing(given, parts))
    from calibrate.reproduction.drawing import figures  # matplotlib is slow to import
    from calibrate.terminal.pages import page as rendered

    with working("drawing"):
        drawn = [figures(part, request) for part in parts]
    content = {
        "model": parts[0].found.evaluation["model"],
        "missing": missing,
        "tables": [as_dict(one, paper) for one in tables],
        "figures": [
            {"set": part.layout.key, **{f.name: f.numbers for f in some if f.numbers is not None}}
            for part, some in zip(parts, drawn, strict=True)
        ],
    }
    write(record, bundle.canonical_json(content) + "\n")
    html = rendered(
        "calibrate.reproduction",
        model=parts[0].found.evaluation["model"]["id"],
        paper=paper,
        missing=missing,
        sets=[
            {
                "title": part.layout.title,
                "note": part.layout.note,
                "table": one,
                "figures": some,
            }
            for part, one, some in zip(parts, tables, drawn, strict=True)
        ],
    )
    writing.write(page, html, force=True)
    if request.as_json:
        show_json({**content, "warnings": warned()})
    else:
        show("\n\n".join([*(text(one, paper) for one in tables), *missing]))
    say(f"wrote {page} and {record}")
    faults = [fault for part in parts for fault in part.found.raw["dataset"]["faults"]]
    if faults:
        first = faults[0]
        raise SomeFailedError(
            f"{len(faults)} items could not be asked, the first: {first['id']}: {first['reason']}"
        )


def _asked(request: Reproduce, layout: Layout, path: Path) -> Part:
    """Evaluate a set in its folder, or go on with it, and read what is there."""
    name = layout.key.replace("_", "-")
    folder = Folder(request.output / name)
    done = evaluation.measured(
        Evaluate(
            output=folder.path,
            model=request.model,
            revision=request.revision,
            data=f"{name}:{path}",
            methods=METHODS,
            ratios=RATIOS,
            profile=request.profile,
            layer=request.layer,
            limit=request.limit,
            timed=request.timed,
            examples=EXAMPLES,
            force=request.force,
            device=request.device,
            dtype=request.dtype,
            seed=request.seed,
            trust_remote_code=request.trust_remote_code,
        )
    )
    assert done is not None  # only a shard has no results
    found, timing, _ = done
    examples = folder.stored(folder.examples, found.evaluation)
    return Part(layout, folder, found, timing, examples)


def _missing(given: dict[Layout, Path | None], parts: list[Part]) -> Iterator[str]:
    """Yield a sentence for each part of the paper that is not here."""
    for layout, path in given.items():
        if path is None:
            yield f"Missing: {layout.title}; give its folder with --{layout.key.replace('_', '-')}."
    if not any(part.timing.get("items") for part in parts):
        yield "Missing: measured times; give --timed."
