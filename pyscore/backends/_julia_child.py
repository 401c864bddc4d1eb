"""Run the Julia worker inside Python through juliacall: `python -P _julia_child.py PACKAGE READ WRITE PARENT`.

A process of its own, in which juliacall is the first thing imported: Julia in one process with torch or numba
crashes. Nothing of pyscore is imported here.
"""

import json
import os
import sys

PACKAGE_ID = "7c5e0c1e-3f5b-4c0e-9d56-5a1f0b7e2c94"  # of julia/Project.toml


def depend_on(package: str) -> None:
    """Make our Julia package a path dependency of juliapkg's project, unless it is one already.

    `juliapkg.json` cannot say so: `julia/` lies beside `pyscore/` in a checkout and inside it when installed.
    """
    import juliapkg
    from juliapkg.state import STATE

    known = {}
    if os.path.isfile(STATE["deps"]):
        with open(STATE["deps"]) as file:
            known = json.load(file).get("packages", {})
    if "PyScore" not in known or package not in json.dumps(known["PyScore"]):
        juliapkg.add("PyScore", PACKAGE_ID, dev=True, path=package)


def main() -> None:
    """Start Julia, load the package and serve."""
    package, read_fd, write_fd, parent = sys.argv[1:]
    os.environ.setdefault("PYTHON_JULIACALL_HANDLE_SIGNALS", "yes")
    os.environ.setdefault("PYTHON_JULIACALL_STARTUP_FILE", "no")
    if "PYTHON_JULIACALL_EXE" not in os.environ:
        depend_on(package)
    import juliacall

    module = juliacall.newmodule("PyScoreChild")
    module.package = package
    # A project of the user's own may not have the package.
    module.seval('Base.find_package("PyScore") === nothing && push!(LOAD_PATH, string(package))')
    module.seval("using PyScore")
    module.seval(f"PyScore.Worker.serve({int(read_fd)}, {int(write_fd)}, {int(parent)})")


if __name__ == "__main__":
    main()
