"""``headrouter push``: a profile on the Hub, under the name that ``load_profile`` reads it by."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calibrate.commands.push import Push
from calibrate.sharing.card import card, metadata
from calibrate.terminal.console import show, show_json, working
from calibrate.terminal.errors import first_line
from headrouter_core.errors import HeadRouterError, UsageError
from headrouter_core.profile.profile import Profile
from headrouter_core.profile.shipped import HUB_FILE, load_profile

_CARD = "README.md"


def run(request: Push) -> None:
    """Write profile and card to the repository in one commit; make the repository if need be.

    Raises:
        UsageError: a name that no repository has, or one that holds something else.
        ProfileError: there is no such profile, or it cannot be trusted.
        HeadRouterError: no access, no connection, or the Hub refuses.
    """
    # imported here: the client is slow to import
    from huggingface_hub import ModelCardData, constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, exported lazily
        validate_repo_id,
    )

    try:
        validate_repo_id(request.repository)
    except HFValidationError as error:
        raise UsageError(f"{request.repository!r} is no name on the Hub: {error}") from error
    if "/" not in request.repository:
        raise UsageError(
            f"{request.repository!r} names nobody; give ORG/NAME, or your name for ORG"
        )
    profile = load_profile(request.profile)
    head = ModelCardData(**metadata(profile)).to_yaml()
    text = f"---\n{head}\n---\n\n{card(profile, request.repository)}"
    if request.dry_run:
        if request.as_json:
            show_json({"repository": request.repository, "card": text, "digest": profile.digest})
        else:
            show(text)
        return
    if constants.HF_HUB_OFFLINE:
        raise HeadRouterError("HF_HUB_OFFLINE is set, and the Hub is not reached; unset it")
    with working(f"sending to {request.repository}"), _explained(request.repository):
        sent = _send(request, profile, text)
    if request.as_json:
        show_json({"repository": request.repository, "digest": profile.digest, **sent})
    else:
        show(f"{sent['pull_request'] or sent['commit']}")
        show(f"Load it: load_profile({request.repository!r})")


def _send(request: Push, profile: Profile, text: str) -> dict[str, Any]:
    from huggingface_hub import CommitOperationAdd, HfApi

    hub, name = HfApi(library_name="headrouter"), request.repository
    hub.create_repo(name, private=request.private or None, exist_ok=True)
    if not request.force:
        files = set(hub.list_repo_files(name))
        if files - {".gitattributes"} and HUB_FILE not in files:
            raise UsageError(
                f"{name} holds {len(files)} files and no {HUB_FILE}: its card would be replaced;"
                " choose another name, or replace it with --force"
            )
    if request.revision is not None and not request.create_pr:
        hub.create_branch(name, branch=request.revision, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / HUB_FILE
        profile.save(file)
        done = hub.create_commit(
            name,
            [CommitOperationAdd(HUB_FILE, file), CommitOperationAdd(_CARD, text.encode())],
            commit_message=request.message or f"Profile {profile.digest[:12]}",
            revision=request.revision,
            create_pr=request.create_pr,
        )
    return {"commit": done.commit_url, "pull_request": done.pr_url}


@contextlib.contextmanager
def _explained(repository: str) -> Iterator[None]:
    """Turn what the client raises into one line that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    try:
        yield
    except HeadRouterError:
        raise
    except LocalTokenNotFoundError as error:
        raise HeadRouterError(
            "you are not logged in to the Hub; make a token that may write, then: hf auth login"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise HeadRouterError(
                f"the Hub does not let you write to {repository} ({status}); log in with a token"
                " that may: hf auth login"
            ) from error
        raise HeadRouterError(f"the Hub refuses {repository}: {first_line(error)}") from error
    except Exception as error:  # errors of client, network and disk have no common base class
        raise HeadRouterError(
            f"{repository} could not be sent ({type(error).__name__}: {first_line(error)});"
            " check the connection, and run it again"
        ) from error
