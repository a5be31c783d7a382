"""What several tests of the offline parts need besides fixtures."""

import shutil
from pathlib import Path


def spoiled(folder: Path, into: Path) -> Path:
    """Copy a checkpoint, to damage the copy."""
    return Path(shutil.copytree(folder, into / folder.name))
