"""In which voices it is said: two speech synthesisers of Debian, each in many variations.

A voice is drawn by a seed; equal arguments give equal samples with the same version of the program.
"""

from __future__ import annotations

import io
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import soxr

from tiny_omni.clips import SAMPLE_RATE

#: flite's voices, recorded from people: name -> gender.
_FLITE = {"rms": "male", "slt": "female", "awb": "male", "kal16": "male"}
_ESPEAK = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
_MALE = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "klatt", "klatt2", "klatt3")
_FEMALE = ("f1", "f2", "f3", "f4", "f5", "klatt4")


@dataclass(frozen=True)
class Voice:
    """One voice: a program, its options, and whose voice it is like."""

    name: str
    gender: str
    command: tuple[str, ...]

    def say(self, text: str) -> np.ndarray:
        """Samples, float32 mono at 16 kHz, without the silence around them.

        Raises ``RuntimeError`` where the program fails or says nothing.
        """
        with TemporaryDirectory() as folder:
            path = Path(folder) / "said.wav"
            filled = [part.format(text=text, path=path) for part in self.command]
            done = subprocess.run(filled, capture_output=True, text=True, check=False)
            if done.returncode or not path.is_file():
                raise RuntimeError(f"{filled[0]} cannot say {text!r}: {done.stderr.strip()}")
            samples: np.ndarray
            samples, rate = soundfile.read(io.BytesIO(path.read_bytes()), dtype="float32")
        loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
        if not len(loud):
            raise RuntimeError(f"{filled[0]} says nothing for {text!r}")
        edge = rate // 20
        samples = samples[max(0, loud[0] - edge) : loud[-1] + edge]
        resampled: np.ndarray = soxr.resample(samples, rate, SAMPLE_RATE)
        return resampled


def draw(rng: random.Random) -> Voice:
    """A voice: flite's sound more like people, espeak-ng's are more."""
    return _flite(rng) if rng.random() < 0.6 else _espeak(rng)


def several(count: int, rng: random.Random) -> list[Voice]:
    """Voices that can be told apart: no two of one name."""
    drawn: dict[str, Voice] = {}
    while len(drawn) < count:
        voice = draw(rng)
        drawn.setdefault(voice.name, voice)
    return list(drawn.values())


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in ("flite", "espeak-ng") if shutil.which(name) is None]


def _flite(rng: random.Random) -> Voice:
    name = rng.choice(sorted(_FLITE))
    pitch = rng.uniform(85, 140) if _FLITE[name] == "male" else rng.uniform(150, 220)
    options = ["-voice", name, "--setf", f"duration_stretch={rng.uniform(0.85, 1.25):.2f}"]
    options += ["--setf", f"int_f0_target_mean={pitch:.0f}"]
    command = ("flite", *options, "-t", "{text}", "-o", "{path}")
    return Voice(f"flite {name}", _FLITE[name], command)


def _espeak(rng: random.Random) -> Voice:
    gender = rng.choice(("female", "male"))
    name = f"{rng.choice(_ESPEAK)}+{rng.choice(_FEMALE if gender == 'female' else _MALE)}"
    options = ("-v", name, "-s", str(rng.randint(130, 190)), "-p", str(rng.randint(30, 70)))
    command = ("espeak-ng", *options, "-w", "{path}", "--", "{text}")
    return Voice(f"espeak-ng {name}", gender, command)
