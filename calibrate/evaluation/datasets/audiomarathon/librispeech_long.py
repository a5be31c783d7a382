"""LibriSpeech-long on disk: ``<speaker>/<chapter>/<id>.flac`` with transcripts beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Recording:
    """One recording; what is missing of it is said here."""

    name: str
    """``<speaker>/<chapter>/<id>``."""
    speaker: str
    path: Path | None
    """``None`` where only the transcript is there."""
    transcript: str
    """Empty where there is none."""


def recordings(folder: Path) -> Iterator[Recording]:
    """List all recordings of a split, in the order of their names.

    The transcript is that of ``<id>.txt``, else the line of ``<speaker>-<chapter>.trans.txt`` whose
    first word is the id. Transcripts whose recording is not there are listed too.
    """
    for chapter in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        speaker = chapter.parent.name
        together = chapter / f"{speaker}-{chapter.name}.trans.txt"
        texts = _lines(together) if together.is_file() else {}
        for path in chapter.glob("*.txt"):
            if path != together:
                texts[path.stem] = path.read_text("utf-8-sig").strip()
        audio = {path.stem: path for path in chapter.glob("*.flac")}
        for stem in sorted(audio.keys() | texts.keys()):
            yield Recording(
                name=f"{speaker}/{chapter.name}/{stem}",
                speaker=speaker,
                path=audio.get(stem),
                transcript=texts.get(stem, ""),
            )


def _lines(path: Path) -> dict[str, str]:
    """Id -> transcript of a chapter's common file."""
    lines = (line.strip().partition(" ") for line in path.read_text("utf-8-sig").splitlines())
    return {name: transcript.strip() for name, _, transcript in lines if name}
