"""The tests that need a GPU are found, run and counted; and a Python for them is made of wheels."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.gpu import install
from benchmarks.measuring.suite import marked_files, run_tests
from headrouter_core import HeadRouterError

MARKED = """
import pytest, time

@pytest.mark.gpu
@pytest.mark.parametrize("x", [1, 2])
def test_passes(x): pass

@pytest.mark.gpu
def test_fails(): assert 1 == 2

@pytest.mark.gpu
@pytest.mark.skip(reason="no kernels")
def test_skipped(): pass

@pytest.mark.gpu
def test_errs(nowhere): pass

def test_unmarked(): assert False
"""


def test_marked_tests_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "test_marked.py"
    path.write_text(MARKED, "utf-8")
    found = run_tests([path], timeout=300)
    assert found["passed"] == 2
    assert found["skipped"] == {"test_marked::test_skipped": "no kernels"}
    assert set(found["failed"]) == {"test_marked::test_fails", "test_marked::test_errs"}
    assert found["failed"]["test_marked::test_fails"].startswith("assert 1 == 2")


def test_a_run_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "test_marked.py"
    path.write_text("import nothing_of_this_name\n", "utf-8")
    with pytest.raises(HeadRouterError, match=r"pytest ended with \d.*nothing_of_this_name"):
        run_tests([path], timeout=300)
    path.write_text("def test_unmarked(): pass\n", "utf-8")
    with pytest.raises(HeadRouterError, match="pytest ended with 5"):
        run_tests([path], timeout=300)
    path.write_text(MARKED + "time.sleep(60)\n", "utf-8")
    with pytest.raises(HeadRouterError, match="longer than 1 s"):
        run_tests([path], timeout=1)


def test_files_with_marked_tests_are_found() -> None:
    names = {path.name for path in marked_files()}
    assert {"test_pruning_cost.py", "test_pruning_flash.py", "test_pruning_gpu.py"} <= names
    assert "test_scoring.py" not in names


def test_an_environment_sees_the_packages_of_the_python_that_makes_it(tmp_path: Path) -> None:
    """That Python is itself one of an environment, as it is on many machines with a GPU."""
    python = install.make_environment(tmp_path / "made")
    code = "import sys, soxr, importlib.util as u; print(u.find_spec('torch').origin, sys.prefix)"
    done = subprocess.run(
        [python, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    origin, prefix = done.stdout.split()
    assert Path(prefix) == tmp_path / "made"
    assert not Path(origin).is_relative_to(prefix)


def test_requirements_are_the_projects_and_the_tests_own() -> None:
    wanted = install.requirements()
    assert {"torch>=2.11", "av>=14", "pytest>=8", "hypothesis>=6.100"} <= set(wanted)
    assert not [one for one in wanted if one.startswith(("ruff", "mypy"))]


def test_a_folder_without_wheels_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install.main(tmp_path / "made", tmp_path) == 2
    assert "holds no wheels" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
