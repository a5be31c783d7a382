"""What is compared: systems, each a method at a ratio."""

from __future__ import annotations

#: A method and its pruning ratio.
System = tuple[str, float]
VANILLA: System = ("vanilla", 0.0)
