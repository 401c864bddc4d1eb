"""Print what pyproject.toml requires, as a requirements file without torch: python tests/requirements.py [--lowest UV] [EXTRA …]

With --lowest each direct requirement is at the lowest version that it allows, and what these need at its newest; `uv` resolves
them. torch is left out: `make lowest` adds the version of constraints.txt, since an older one would be a build for CUDA, and
`make newer` runs where there is none.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = {
    "torch",
    "ruff",
    "mypy",
    "import-linter",
    "pandas-stubs",
    "scipy-stubs",
    "build",
    "playwright",
    "numba-cuda",
}
"""Beside torch, what of the extra `test` checks the source, or serves the simulator and the browser."""


def requirements(extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = [*project["dependencies"], *(r for extra in extras for r in project["optional-dependencies"][extra])]
    return [line for line in every if re.match(r"[\w.-]+", line).group().lower() not in LEFT_OUT]


def lowest(uv, lines):
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [
        uv,
        "pip",
        "compile",
        "-",
        "--resolution",
        "lowest-direct",
        "--no-header",
        "--no-annotate",
        "--quiet",
    ]
    command += ["--python-version", version]
    done = subprocess.run(command, input="\n".join(lines), text=True, stdout=subprocess.PIPE, check=True)
    return done.stdout.splitlines()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lowest", metavar="UV", help="the uv program")
    parser.add_argument("extras", nargs="*")
    given = parser.parse_args()
    lines = requirements(given.extras)
    print("\n".join(lines if given.lowest is None else lowest(given.lowest, lines)))
