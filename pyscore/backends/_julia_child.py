"""Run the Julia worker in Python through juliacall: `python -P _julia_child.py PACKAGE READ WRITE PARENT IDLE`.

A process of its own, in which juliacall is the first thing imported: Julia in one process with torch or numba
crashes. Nothing of pyscore is imported here.
"""

import json
import os
import sys

PACKAGE_ID = "7c5e0c1e-3f5b-4c0e-9d56-5a1f0b7e2c94"  # of julia/Project.toml
FLUX_ID, FLUX_VERSION = "587475ba-b771-5e3f-ad9e-33799f191a9c", "0.14"


def depend_on(package: str) -> None:
    """Make our Julia package a path dependency of juliapkg's project, unless it is one already.

    A `juliapkg.json` cannot say so: `julia/` lies beside `pyscore/` in a checkout and inside it when installed.
    """
    import juliapkg

    if package not in json.dumps(_dependencies().get("PyScore")):
        juliapkg.add("PyScore", PACKAGE_ID, dev=True, path=package)


def depend_on_flux() -> None:
    """Add Flux to a Julia project of pyscore's own.

    Every juliapkg.json of an environment speaks for the whole environment: Flux there would bind the Flux of all
    other packages. So the child that is asked for Flux has a project beside juliapkg's.
    """
    from juliapkg.state import STATE, reset_state

    os.environ["PYTHON_JULIAPKG_PROJECT"] = STATE["project"].rstrip(os.sep) + "_pyscore_flux"
    reset_state()
    import juliapkg

    if "Flux" not in _dependencies():
        juliapkg.add("Flux", FLUX_ID, version=FLUX_VERSION)


def _dependencies() -> dict[str, object]:
    from juliapkg.state import STATE

    if not os.path.isfile(STATE["deps"]):
        return {}
    with open(STATE["deps"]) as file:
        return json.load(file).get("packages", {})


def main() -> None:
    """Start Julia, load the package and serve."""
    package, *descriptors, idle = sys.argv[1:]
    os.environ.setdefault("PYTHON_JULIACALL_HANDLE_SIGNALS", "yes")
    os.environ.setdefault("PYTHON_JULIACALL_STARTUP_FILE", "no")
    if "PYTHON_JULIACALL_EXE" not in os.environ:
        if os.environ.get("PYSCORE_JULIA_FLUX") == "yes":
            depend_on_flux()
        depend_on(package)
    import juliacall

    module = juliacall.newmodule("PyScoreChild")
    module.package = package
    # A project of the user's own may not have the package.
    module.seval('Base.find_package("PyScore") === nothing && push!(LOAD_PATH, string(package))')
    module.seval("using PyScore")
    arguments = ", ".join(str(int(value)) for value in descriptors)
    module.seval(f"PyScore.Worker.serve({arguments}; idle = {float(idle)!r})")


if __name__ == "__main__":
    main()
