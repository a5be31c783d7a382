"""The tests that need a GPU, as one measurement: how many passed, and what was skipped and why."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrouter_core import HeadRouterError

ROOT = Path(__file__).parents[2]
_MARK = "mark.gpu"


def marked_files(folder: Path = ROOT / "tests") -> list[Path]:
    """Return the test files that hold the mark: the others need not be imported."""
    return [path for path in sorted(folder.rglob("test_*.py")) if _MARK in path.read_text("utf-8")]


def run_tests(files: Sequence[Path], timeout: float) -> dict[str, Any]:
    """Run the marked tests of some files, and return what came out.

    Raises:
        HeadRouterError: they take longer than ``timeout`` seconds, or pytest cannot run them.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "junit.xml")
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
        command += [f"--junit-xml={report}", *map(str, files)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise HeadRouterError(f"the tests take longer than {timeout:.0f} s") from error
        if done.returncode not in (0, 1):  # 1: some failed
            end = " ".join((done.stdout + done.stderr).split())[-500:]
            raise HeadRouterError(f"pytest ended with {done.returncode}: {end}")
        return _counted(ET.parse(report).getroot())


def _counted(root: ET.Element) -> dict[str, Any]:
    """Return the numbers of a JUnit report, and names of what did not pass."""
    result: dict[str, Any] = {"passed": 0, "failed": {}, "skipped": {}}
    for case in root.iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        fault, skip = case.find("failure"), case.find("skipped")
        fault = case.find("error") if fault is None else fault
        if fault is not None:
            result["failed"][name] = fault.get("message", "")
        elif skip is not None:
            result["skipped"][name] = skip.get("message", "")
        else:
            result["passed"] += 1
    return result
