"""What every picture needs: text from outside that is drawn as it stands."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

from matplotlib import rc_context
from matplotlib.figure import Figure


@contextlib.contextmanager
def text_as_data() -> Iterator[None]:
    """Draw names, questions and answers as they are: a ``$`` begins no formula."""
    with rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        # they may be in scripts that the font lacks: boxes are drawn, and that is enough said
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; equal figures give equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
