"""``headrouter calibrate --heads``: add head scores to a profile that is there."""

from __future__ import annotations

from pathlib import Path

from calibrate.commands.calibrate import Calibrate
from calibrate.estimation import journaling
from calibrate.estimation.heads.following import RECORDINGS, score_heads, shipped_speech
from calibrate.models import named
from calibrate.models.selecting import check_fit, find_profile
from calibrate.terminal.console import STDERR, show, show_json
from calibrate.terminal.progress import Progress
from headrouter_core.errors import UsageError
from headrouter_core.profile.profile import Profile


def run(request: Calibrate) -> None:
    """Measure how closely each KV head follows speech, and write the profile with it.

    Raises:
        UsageError: options that are of calibration itself; recordings whose words have no times.
        ProfileError: the model has no profile yet, or it is another model's.
    """
    given = {
        "--data": request.data is not None,
        "--questions": request.questions is not None,
        "--stability": request.stability,
        "--recipe": request.recipe is not Calibrate.recipe,
        "--leave-one-out": request.leave_one_out,
    }
    if option := next((name for name, is_given in given.items() if is_given), None):
        raise UsageError(
            f"{option} does not go with --heads: head scores rest on shipped digits, of which is"
            " known when each one sounds"
        )
    profile = find_profile(request.model, None)
    output = request.output or Path(f"{named.source(request.model).name}.safetensors")
    journaling.claim_both(output, force=request.force, inputs=[])
    loaded = named.load_asked(request)
    check_fit(loaded, profile.recipe.layer, profile, force=False)
    count = RECORDINGS if request.limit is None else request.limit
    settings = {"heads": count, "seed": request.seed, "profile": profile.digest}
    header = journaling.header(loaded, [], profile.recipe.layer, settings)
    with (
        journaling.going_on(output, header, force=request.force) as run,
        Progress(STDERR) as progress,
    ):
        spoken = list(shipped_speech(count, seed=request.seed))
        found = score_heads(loaded, spoken, progress, run.work)
        run.end(found.into(profile), Profile.save)
    if request.as_json:
        record = {
            "scores": found.scores.tolist(),
            "stderr": found.stderr.tolist(),
            "stability": found.stability,
            "recordings": found.recordings,
            "words": found.words,
        }
        show_json({"output": str(output), "resumed": len(run.work.resumed), **record})
        return
    layer, head = divmod(int(found.scores.argmax()), found.scores.shape[1])
    best, error = float(found.scores.max()), float(found.stderr[layer, head])
    stable = "not known" if found.stability is None else f"{found.stability:.2f}"
    show(
        f"Followed {found.words} words in {found.recordings} recordings; halves agree: {stable}\n"
        f"Best: layer {layer}, KV head {head}: {best:.2f} ± {error:.2f} of its attention's top lies"
        f" in the word\nWrote {output}"
    )
