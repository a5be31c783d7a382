"""A Python for ``make gpu``: that of the machine, with what it lacks from a folder of wheels.

A machine with a GPU often comes with torch and transformers installed and without a network. They
are used as they are: only packages that headrouter needs and that are not there are installed, into
a folder of their own beside them. Run by the machine's Python, so nothing but its standard library
is imported here:

    python3 -m benchmarks.gpu.install .work/gpu-python [WHEELS]

Without a folder of wheels they come from the index that pip is configured with.
"""

from __future__ import annotations

import site
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What the tests that need a GPU import besides.
_TESTS = ("pytest", "hypothesis")
#: What folders of installed packages are called.
_PLACES = ("site-packages", "dist-packages")


def main(folder: Path, wheels: Path | None) -> int:
    """Make the Python in ``folder``, and return pip's exit code."""
    if wheels is not None and not list(wheels.glob("*.whl")):
        print(f"{wheels} holds no wheels; make gpu-wheels gathers them", file=sys.stderr)
        return 2
    python = make_environment(folder)
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    if wheels is not None:
        # whatever lies there is installed, such as a build of flash attention
        command += ["--no-index", f"--find-links={wheels}", *map(str, wheels.glob("*.whl"))]
    return subprocess.run([*command, *requirements()], check=False).returncode


def make_environment(folder: Path) -> Path:
    """Return the Python of a fresh environment in ``folder`` that sees this one's packages."""
    # system_site_packages would be those of the Python that this one's environment was made from
    venv.create(folder, clear=True, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    variables = {"base": str(folder), "platbase": str(folder)}
    own = Path(sysconfig.get_path("purelib", "venv", variables))
    seen = [path for path in [*site.getsitepackages(), *sys.path] if Path(path).name in _PLACES]
    lines = (f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(seen))
    (own / "machine.pth").write_text("\n".join(lines) + "\n", "utf-8")
    return python


def requirements() -> list[str]:
    """Return what headrouter and the tests that need a GPU require."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    tools = project["optional-dependencies"]["dev"]
    return [*project["dependencies"], *(tool for tool in tools if tool.startswith(_TESTS))]


if __name__ == "__main__":
    folder, *rest = sys.argv[1:]
    sys.exit(main(Path(folder), Path(rest[0]) if rest and rest[0] else None))
