#!/bin/sh
# The CUDA tests and the benchmark on a bare machine with an NVIDIA driver, Python 3.12 and torch.
#   here:   python -m pyscore.bench.gpu wheels .whl          (once; .whl/part-1, part-2, …, each below 64 MiB)
#   there:  OUT=… sh bench/gpu.sh [STEP …]                   (from the root of the repository, with the parts carried)
# Parts may come in several calls: each installs what it finds; `sh bench/gpu.sh install` does nothing else.
# PYSCORE_GPU_DRY=1 rehearses it anywhere, under the simulator. Every step has its own time limit.
set -u
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-gpu-out}
SITE=${PYSCORE_GPU_SITE:-/tmp/pyscore-gpu-site}
export OUT
export PYTHONUNBUFFERED=1
mkdir -p "$OUT"
if [ -z "${CUDA_HOME:-}" ] && [ -d /usr/local/cuda/nvvm ]; then export CUDA_HOME=/usr/local/cuda; fi

if [ "${PYSCORE_GPU_DRY:-0}" != 1 ]; then
    for part in .whl/part-*; do
        [ -d "$part" ] || continue
        echo "installing $part ..."
        timeout 120 "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
            --target "$SITE" "$part"/*.whl || echo "installing $part: exit status $?"
    done
    # The package is the tree itself: its four folders, as pyproject.toml maps them.
    mkdir -p "$SITE"
    rm -rf "$SITE/pyscore"
    cp -r pyscore "$SITE/pyscore"
    cp -r kernels bench julia "$SITE/pyscore/"
    export PYTHONPATH="$SITE" PYTHONSAFEPATH=1  # not the tree in this folder, which lacks two of the four
fi
[ "${1:-}" = install ] && exit 0
exec timeout 590 "$PYTHON" -m pyscore.bench.gpu run "$@"
