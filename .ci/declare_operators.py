"""Let a torchvision whose operators do not load be imported: declare the two that it relies on.

They are declared at the end of its ``extension.py``, which runs before anything asks for them; no
text of that file is relied on. Whether it helped is seen by importing.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

MARK = "# declared by headrouter's .ci/declare_operators.py"
DECLARED = f"""

{MARK}
for _name in () if _has_ops() else ("nms", "qnms"):
    torch.library.define(
        f"torchvision::{{_name}}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    )
"""
HELP = (
    "install the build of torchvision that goes with this torch (the PyTorch site has an index for"
    " CPUs), or adapt .ci/declare_operators.py to this one"
)


def loads() -> str | None:
    """Return why torchvision cannot be imported, or ``None``."""
    tried = subprocess.run(
        [sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False
    )
    return None if tried.returncode == 0 else tried.stderr.strip().splitlines()[-1]


def main() -> None:
    """Declare the operators where they are missing."""
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise SystemExit("torchvision is not installed; vLLM's readers of pictures need it")
    why = loads()
    if why is None:
        return
    path = Path(spec.origin).with_name("extension.py")
    if not path.is_file():
        raise SystemExit(f"torchvision does not load ({why}) and has no {path.name}; {HELP}")
    text = path.read_text("utf-8")
    if MARK not in text:
        path.write_text(text + DECLARED, "utf-8")
    why = loads()
    if why is not None:
        path.write_text(text, "utf-8")
        raise SystemExit(f"torchvision does not load even with operators declared: {why}; {HELP}")


if __name__ == "__main__":
    main()
