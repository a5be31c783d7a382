"""What several tests of the offline parts need besides fixtures."""

import shutil
from pathlib import Path

import pytest

from tiny_omni import MODEL_DIR

needs_tiny_omni = pytest.mark.skipif(
    not (MODEL_DIR / "config.json").is_file(), reason="tiny-omni is not trained yet"
)


def spoiled(folder: Path, into: Path) -> Path:
    """Copy a checkpoint, to damage the copy."""
    return Path(shutil.copytree(folder, into / folder.name))
