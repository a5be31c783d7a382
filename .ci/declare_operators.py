"""Let a torchvision whose operators do not load be imported: declare the two that it relies on."""

from importlib.util import find_spec
from pathlib import Path

ANCHOR = "import torchvision.extension  # noqa: F401\n"
DECLARED = """
if not torchvision.extension._has_ops():
    for _name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{_name}",
            "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        )
"""

spec = find_spec("torchvision")
if spec is None or spec.origin is None:
    raise SystemExit("torchvision is not installed")
path = Path(spec.origin).parent / "_meta_registrations.py"
text = path.read_text()
if DECLARED not in text:
    if ANCHOR not in text:
        raise SystemExit(f"{path.name} of this torchvision is of another shape")
    path.write_text(text.replace(ANCHOR, ANCHOR + DECLARED, 1))
