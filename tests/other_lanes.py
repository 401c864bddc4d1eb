"""PYSCORE_TEST_LANES=16 lays the kernels' arrays out as for AVX-512, whatever the processor has; 8 as for AVX2.

LLVM splits a wide vector where registers are narrow, so what depends on the number of lanes (the order of sums) is tested on
any machine. Importing this file, before the kernels, does so. NUMBA_CACHE_DIR has to name a cache of its own, since Numba's key does not hold this number.
"""

import importlib.util
import os
import sys
from pathlib import Path


def _pretend():
    wanted = os.environ.get("PYSCORE_TEST_LANES")
    if not wanted:
        return
    if wanted not in ("8", "16"):
        raise ValueError(f"PYSCORE_TEST_LANES must be 8 or 16; got {wanted!r}.")
    if "NUMBA_CACHE_DIR" not in os.environ or "pyscore.kernels.cpu" in sys.modules:
        raise RuntimeError(
            "PYSCORE_TEST_LANES needs a NUMBA_CACHE_DIR of its own, and to come before the kernels."
        )
    name = "pyscore.kernels.cpu._target"
    path = Path(__file__).parents[1] / "kernels" / "cpu" / "_target.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    real = module.target()
    width, registers = (64, 32) if wanted == "16" else (32, 16)
    module.target = lambda: real._replace(register_bytes=width, registers=registers)


_pretend()
