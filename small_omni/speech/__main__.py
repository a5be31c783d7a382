"""Make the synthetic speech: ``python -m small_omni.speech``.

Writes Opus clips and ``metadata.jsonl``; what is there already is kept, so it can be stopped
and prolonged. Needs flite, espeak-ng and WordNet: ``apt-get install flite espeak-ng wordnet-base``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import soundfile

from small_omni.speech.texts import WORDNET, Utterance, utterances
from small_omni.speech.voices import missing, several
from tiny_omni.clips import SAMPLE_RATE


def make(folder: Path, count: int, seed: int, wordnet: Path) -> int:
    """Say the first ``count`` utterances, and return how many were new."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "metadata.jsonl"
    done = len({json.loads(line)["utterance"] for line in _lines(listed)})
    made = 0
    with listed.open("a", encoding="utf-8") as metadata:
        for number, utterance in enumerate(islice(utterances(seed, wordnet), count)):
            if number >= done:
                rows = _say(folder, number, utterance, seed)
                metadata.write("".join(json.dumps(row) + "\n" for row in rows))
                metadata.flush()
                made += 1
    return made


def _say(folder: Path, number: int, utterance: Utterance, seed: int) -> list[dict[str, Any]]:
    """Write an utterance's clips, a file a turn, and return their rows of metadata."""
    rng = random.Random(f"{seed}/{number}/voices")
    voices = several(1 + max(turn.speaker for turn in utterance.turns), rng)
    rows = []
    for place, turn in enumerate(utterance.turns):
        voice = voices[turn.speaker]
        file = Path("train") / f"{number // 1000:03d}" / f"{number:06d}-{place}.ogg"
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        samples = voice.say(turn.text)
        soundfile.write(folder / file, samples, SAMPLE_RATE, format="OGG", subtype="OPUS")
        rows.append(
            {
                "utterance": number,
                "file": str(file.relative_to("train")),
                "kind": utterance.kind,
                "words": turn.words,
                "asked": utterance.asked,
                "voice": voice.name,
                "gender": voice.gender,
                "seconds": round(len(samples) / SAMPLE_RATE, 2),
            }
        )
    return rows


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.is_file() else []


def main() -> None:
    """Parse the command line and speak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(".work/small_omni/speech"))
    parser.add_argument("--count", type=int, default=6000, help="utterances")
    parser.add_argument("--wordnet", type=Path, default=WORDNET, help="folder of WordNet's data")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if missing():
        sys.exit(f"error: not installed: {', '.join(missing())}; they are Debian packages")
    made = make(args.output, args.count, args.seed, args.wordnet)
    print(f"{made} utterances made, {args.count} are in {args.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
