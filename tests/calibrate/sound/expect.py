"""What the real ffmpeg decodes: for the tests where it is installed, and to write expected.npz."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np

FFMPEG = shutil.which("ffmpeg")
FILES = Path(__file__).parent / "files"
#: First of the samples that expected.npz holds, and how many: not at the seams of joined streams.
FIRST, COUNT = 4_000, 1_000


def decoded(path):
    """Return what ffmpeg decodes of a file's first sound stream: mono float32 [n], and the rate."""
    asked = ["ffprobe", "-v", "error", "-select_streams", "a", "-show_entries"]
    asked += ["stream=sample_rate,channels", "-of", "json", str(path)]
    stream = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)["streams"][0]
    command = [FFMPEG, "-v", "error", "-i", str(path), "-map", "0:a:0", "-f", "f32le", "-"]
    content = subprocess.run(command, check=True, capture_output=True).stdout
    samples = np.frombuffer(content, "<f4").reshape(-1, stream["channels"])
    return samples.mean(axis=1, dtype=np.float32), int(stream["sample_rate"])


def lag(ours, theirs, most=400):
    """Return how many samples ``ours`` begins later than ``theirs``, by their correlation."""
    length = min(len(ours), len(theirs)) - 2 * most
    middle = theirs[most : most + length]
    fits = [float(ours[most + k : most + k + length] @ middle) for k in range(-most, most + 1)]
    return int(np.argmax(fits)) - most


if __name__ == "__main__":
    expected = {}
    for path in sorted(FILES.iterdir()):
        if path.suffix not in (".md", ".npz"):
            samples, rate = decoded(path)
            # the seam is at one second: what lies before it is compared
            expected[path.name] = samples[FIRST : FIRST + COUNT]
            expected[f"{path.name}/shape"] = np.array([len(samples), rate])
    np.savez_compressed(FILES / "expected.npz", **expected)
