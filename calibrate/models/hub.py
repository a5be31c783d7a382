"""Fetching checkpoints from the Hugging Face Hub, or from its local cache."""

from __future__ import annotations

from pathlib import Path

from calibrate.terminal.errors import ModelError, first_line

#: All that a front end needs, and all weights that are loaded: no pickles, no pictures.
_FILES, _WEIGHTS = ["*.json", "*.jinja", "*.txt", "*.model"], ["*.safetensors"]


def fetch(
    repository: str, revision: str | None = None, *, code: bool = False, weights: bool = True
) -> Path:
    """Return a snapshot of a Hub repository, downloading what the cache lacks.

    The snapshot's folder is named by its commit.

    Args:
        repository: ``user/repo``.
        revision: branch, tag or commit.
        code: fetch Python files too, for ``trust_remote_code``.
        weights: fetch these too.

    Raises:
        ModelError: no such repository or revision, no access, or no connection.
    """
    # imported here: most models are local, and the client is slow to import
    from huggingface_hub import errors, snapshot_download

    patterns = _FILES + (_WEIGHTS if weights else []) + (["*.py"] if code else [])
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except errors.HFValidationError as error:
        raise ModelError(
            f"{repository!r} is no Hub id; Hub ids look like Qwen/Qwen2.5-Omni-3B"
        ) from error
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repository} is gated: ask for access at https://huggingface.co/{repository}, then"
            " log in with: hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"the Hub has no model {repository} that you may see; check the name, or log in with:"
            " hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"{repository} has no revision {revision}; see"
            f" https://huggingface.co/{repository}/commits/main"
        ) from error
    except Exception as error:  # errors of client, network and disk have no common base class
        raise ModelError(_unreachable(repository, revision, error)) from error


def _unreachable(repository: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub import constants

    at = f" at {revision}" if revision else ""
    if constants.HF_HUB_OFFLINE:
        return (
            f"{repository}{at} is not in the local cache and HF_HUB_OFFLINE is set; unset it, or"
            " give a local folder: --model DIR"
        )
    cause = first_line(error)
    return (
        f"{repository}{at} could not be fetched ({type(error).__name__}: {cause}); check the"
        " connection and the disk, or give a local folder: --model DIR"
    )
