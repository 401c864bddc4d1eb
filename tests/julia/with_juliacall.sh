#!/bin/sh
# Run the Julia tests through juliacall, on a Julia ≥ 1.10 in a project that has PythonCall:
#
#   tests/julia/with_juliacall.sh /path/to/julia /path/to/project [pytest options]
#
# and, where the project has Flux ≥ 0.14 and this package (`] dev julia`), the tests of the Flux extension.
set -eu
[ $# -ge 2 ] || { echo "usage: $0 JULIA PROJECT [pytest options]" >&2; exit 2; }
here=$(cd "$(dirname "$0")/../.." && pwd)
julia=$1 project=$2
shift 2
"$julia" --startup-file=no --project="$project" -e 'using PythonCall; println("Julia ", VERSION, ", PythonCall is here")'
export PYTHON_JULIACALL_EXE="$julia" PYTHON_JULIACALL_PROJECT="$project"
export PYSCORE_JULIA_TRANSPORT=juliacall PYSCORE_REQUIRE_JULIA=1
cd "$here"
"${PYTHON:-.venv/bin/python}" -m pytest -m julia tests/julia "$@"
if "$julia" --startup-file=no --project="$project" -e 'exit(Base.find_package("Flux") === nothing ? 1 : 0)'; then
    "$julia" --startup-file=no --project="$project" julia/test/flux.jl
else
    echo "the project has no Flux: julia/test/flux.jl was not run"
fi
