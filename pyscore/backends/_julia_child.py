"""Run the Julia worker inside Python through juliacall: `python _julia_child.py PACKAGE READ WRITE PARENT`.

A process of its own, in which juliacall is the first thing imported: Julia in one process with torch or numba
crashes. Nothing of pyscore is imported here.
"""

import os
import sys


def main() -> None:
    """Start Julia, load the package and serve."""
    package, read_fd, write_fd, parent = sys.argv[1:]
    os.environ.setdefault("PYTHON_JULIACALL_HANDLE_SIGNALS", "yes")
    os.environ.setdefault("PYTHON_JULIACALL_STARTUP_FILE", "no")
    import juliacall

    module = juliacall.newmodule("PyScoreChild")
    module.package = package
    # The project has the package when juliapkg resolved it; a project of the user's own may not.
    module.seval('Base.find_package("PyScore") === nothing && push!(LOAD_PATH, string(package))')
    module.seval("using PyScore")
    module.seval(f"PyScore.Worker.serve({int(read_fd)}, {int(write_fd)}, {int(parent)})")


if __name__ == "__main__":
    main()
