"""What is measured on a GPU, the most valuable first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.subjects.shapes import FRONT_END_SECONDS

#: Kinds of measurement, and what each holds.
KINDS = {
    "tests": "pytest -m gpu",
    "prefill": "prefill unpruned, pruned and ideal, with peak memory and the share of selecting",
    "selectors": "every selector's prefill, selecting and peak memory",
    "calibration": "head ablation of one sample from its shared prefix, and naively",
    "decode": "the time to the first token and a step behind it",
    "end_to_end": "from samples to an answer, and the encoder in it",
}
RATIOS: tuple[float, ...] = (0.3, 0.6, 0.9)
#: Where generation is measured, which moves little with the ratio.
ANSWER_RATIOS: tuple[float, ...] = (0.6,)
SECONDS = (30.0, 90.0, 300.0, 600.0)
BATCHES = (1, 8)


@dataclass(frozen=True)
class Measurement:
    """One entry of the results: it is measured as a whole or not at all."""

    kind: str
    shape: str = ""
    """Empty for the tests, which bring their own models."""
    seconds: float = 0
    """Of audio in each row."""
    batch: int = 1
    rounds: int = 1
    """Counted rounds; one more warms up."""
    ratios: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """What people read."""
        if not self.shape:
            return self.kind
        rows = "" if self.batch == 1 else f" x {self.batch}"
        return f"{self.kind} of {self.shape} at {self.seconds:g} s{rows}"

    @property
    def impossible(self) -> str | None:
        """Return why no device can measure this; ``None`` where one can."""
        hears = self.kind in ("end_to_end", "calibration")
        if hears and self.seconds > FRONT_END_SECONDS:
            return f"the front end takes at most {FRONT_END_SECONDS} s of audio"
        return None


def plan(
    shapes: Sequence[str],
    seconds: Sequence[float] = SECONDS,
    batches: Sequence[int] = BATCHES,
    kinds: Sequence[str] = tuple(KINDS),
) -> list[Measurement]:
    """Return all measurements in the order in which they are taken.

    First what the goals are about, at the smallest batch; then what explains it; larger batches,
    which take most of the time, last. Inside a group models take turns back and forth, since
    drawing one's weights anew costs seconds.
    """
    first, *more = sorted(batches)
    groups = [
        [("prefill", first)],
        [("selectors", first), ("calibration", first), ("decode", first), ("end_to_end", first)],
    ]
    groups += [[(kind, batch)] for batch in more for kind in ("prefill", "decode")]
    found = [Measurement("tests")] if "tests" in kinds else []
    for turn, group in enumerate(groups):
        for shape in shapes if turn % 2 == 0 else reversed(shapes):
            for kind, batch in group:
                if kind in kinds:
                    found += _lengths(kind, shape, sorted(seconds), batch)
    return found


def _lengths(kind: str, shape: str, seconds: Sequence[float], batch: int) -> Iterator[Measurement]:
    """Yield a kind at all lengths at which it is worth its time."""
    rounds, ratios = 3, RATIOS
    if kind == "prefill":
        rounds = 5 if batch == 1 else 3
    elif kind in ("decode", "end_to_end"):
        ratios = ANSWER_RATIOS
        # these move little with length: every other one, and of large batches one
        seconds = seconds[::2] if batch == 1 else seconds[::2][-1:]
    else:
        ratios = ()
    if kind == "calibration":
        seconds = seconds[:2][-1:]
    if kind in ("end_to_end", "calibration"):
        batch = 1
    for length in seconds:
        yield Measurement(kind, shape, length, batch, rounds, ratios)
