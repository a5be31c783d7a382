"""The pictures of an evaluation: one small function each, which returns a PNG file."""

from __future__ import annotations

from calibrate.evaluation.showing.plots.gallery import examples_drawn, pictures, write_all

__all__ = ["examples_drawn", "pictures", "write_all"]
