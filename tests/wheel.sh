#!/bin/sh
# Build the wheel, install it into an empty environment, and run the demo from another folder.
set -eu
python=${1:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$root/.venv/bin/python" -m build --wheel --outdir "$work/dist" "$root" > "$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --no-compile --constraint "$root/constraints.txt" torch "$work"/dist/*.whl
mkdir "$work/elsewhere"
cd "$work/elsewhere"
"$work/venv/bin/pyscore" demo --steps 300
test -s demo/model.safetensors
test -s demo/demo.png
"$work/venv/bin/python" - <<'PY'
from importlib import resources

import pyscore
import pyscore.kernels.cpu

assert "elsewhere" not in pyscore.__file__ and "site-packages" in pyscore.__file__, pyscore.__file__
julia = resources.files("pyscore.julia")
for file in ("Project.toml", "src/PyScore.jl", "ext/PyScoreFluxExt.jl", "worker/worker.jl", "test/runtests.jl"):
    assert julia.joinpath(file).is_file(), f"the Julia package travels in the wheel: {file}"
assert resources.files("pyscore.data").joinpath("loda.json").is_file()
assert resources.files("pyscore.bench").joinpath("templates/report.html.j2").is_file()
assert resources.files("pyscore.experiment").joinpath("templates/results.md.j2").is_file()
print("wheel: installed", pyscore.__version__, "ran the demo from another folder")
PY
