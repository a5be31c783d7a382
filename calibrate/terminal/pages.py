"""Self-contained pages: one file, nothing fetched, every text from outside escaped."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from calibrate.terminal.visible import visible


def page(package: str, **context: Any) -> bytes:
    """Render ``templates/page.html`` of a package, which may build on the templates beside here.

    Args:
        package: name of the package that has it.
        context: what the template shows; texts are data, whatever is in them.

    Returns:
        The page in UTF-8; halves of characters, which no encoding takes, are shown as escapes.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("calibrate.terminal")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.globals["digest"] = _digest
    return environment.get_template("page.html").render(context).encode("utf-8", "backslashreplace")


def data_uri(kind: str, content: bytes) -> str:
    """Return a file as an address that holds it; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _digest(script: str) -> str:
    """Return by what a content security policy knows a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
