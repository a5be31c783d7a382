"""``headrouter calibrate --heads``: add head scores to a profile that is there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from calibrate.commands.calibrate import Calibrate
from calibrate.estimation import journaling
from calibrate.estimation.heads.following import score_heads
from calibrate.estimation.heads.sources import answered, speech
from calibrate.models import named
from calibrate.models.selecting import check_fit, find_profile
from calibrate.terminal.console import STDERR, show, show_json
from calibrate.terminal.errors import SomeFailedError
from calibrate.terminal.progress import Progress
from headrouter_core.errors import UsageError
from headrouter_core.profile.profile import Profile


def run(request: Calibrate) -> None:
    """Measure how closely each KV head follows speech, and write the profile with it.

    Raises:
        UsageError: options that are of calibration itself; data of which nothing can be followed.
        ProfileError: the model has no profile yet, or it is another model's.
        SomeFailedError: some recordings could not be used.
    """
    given = {
        "--stability": request.stability,
        "--recipe": request.recipe is not Calibrate.recipe,
        "--leave-one-out": request.leave_one_out,
    }
    if option := next((name for name, is_given in given.items() if is_given), None):
        raise UsageError(f"{option} does not go with --heads, which adds head scores and no more")
    if request.questions is not None and request.data is None:
        raise UsageError("--questions asks about recordings; name their folder with --data")
    spoken, source = speech(request.data, request.questions, request.limit, request.seed)
    profile = find_profile(request.model, None)
    output = request.output or Path(f"{named.source(request.model).name}.safetensors")
    inputs = [path for path in (request.data, request.questions) if path]
    journaling.claim_both(output, force=request.force, inputs=inputs)
    loaded = named.load_asked(request)
    check_fit(loaded, profile.recipe.layer, profile, force=False)
    rows = [[s.id, s.prompt, s.answer, *map(dataclasses.astuple, s.words)] for s in spoken]
    heard = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    settings = {"speech": heard, "seed": request.seed, "profile": profile.digest}
    header = journaling.header(loaded, [], profile.recipe.layer, settings)
    with (
        journaling.going_on(output, header, force=request.force) as run,
        Progress(STDERR) as progress,
    ):
        spoken, unheard = answered(loaded, spoken, progress, run.work)
        found = score_heads(loaded, spoken, progress, source, run.work)
        run.end(found.into(profile), Profile.save)
    if request.as_json:
        record = {
            "scores": found.scores.tolist(),
            "stderr": found.stderr.tolist(),
            "stability": found.stability,
            "recordings": found.recordings,
            "words": found.words,
            "source": found.source,
            "failed": [{"where": where, "error": error} for where, error in unheard.items()],
        }
        show_json({"output": str(output), "resumed": len(run.work.resumed), **record})
    else:
        layer, head = divmod(int(found.scores.argmax()), found.scores.shape[1])
        best, error = float(found.scores.max()), float(found.stderr[layer, head])
        stable = "not known" if found.stability is None else f"{found.stability:.2f}"
        show(
            f"Followed {found.words} words in {found.recordings} recordings ({found.source});"
            f" halves agree: {stable}\nBest: layer {layer}, KV head {head}: {best:.2f} ±"
            f" {error:.2f} of its attention's top lies in the word\nWrote {output}"
        )
    if unheard:
        raise SomeFailedError(
            f"{len(unheard)} recordings of {request.data} could not be used, and the scores rest on"
            " the others"
        )
