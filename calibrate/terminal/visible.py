"""Text from outside (file names, labels, model ids, answers) as data: what a terminal would obey,
or hide, is shown instead.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: Controls but for line breaks, what turns the direction of writing or breaks lines unseen, and
#: halves of characters, which file names that are not UTF-8 have and no encoding takes.
_UNSEEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """Return ``text`` with everything unseen as an escape, such as ``\\x1b``; lines stay."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """Return ``text`` as :func:`visible` does, and line breaks as ``\\n``."""
    return visible(text).replace("\n", "\\n")


def to_json(value: Any, *, encoding: str = "utf-8", indent: int | None = None) -> str:
    """Return JSON that the encoding can hold and a terminal does not obey, with equal content."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    text = _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, indent=indent)
    return text
