"""The numerical tests under other processors' code paths, on this one: python tests/portable.py [--only NAME] [--jobs N]

Numba, torch, MKL, oneDNN, OpenBLAS, NumPy and the C library choose code by the processor that they find, and each can be told to
take that of an older one. A setting here tells all of them at once, since each acts on a library of its own; every value that a
variable can take stands in at least one setting. What the libraries then really chose is asked of them and has to be what was
wanted. A setting whose instructions this processor lacks is listed as such. The table at the end is what CI shows.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

TESTS = (
    "kernels/test_importance.py", "kernels/test_log_volume.py", "kernels/test_math.py", "kernels/test_mmd.py",
    "kernels/test_newton.py", "kernels/test_proposed.py", "test_conformance.py", "test_golden_ipmeasures.py",
    "test_golden_reference.py", "test_golden_rest.py", "test_goodness.py", "test_portability.py", "test_priors.py",
    "test_projection.py", "test_reference_mpmath.py", "test_stacked.py", "test_torch_newton.py", "test_training_replay.py",
)  # fmt: skip

LEFT_OUT = "tests/kernels/test_log_volume.py::test_the_cache_notices_a_change_in_any_file"
"""It compiles three times, and computes nothing."""

HASWELL = "+64bit,+cmov,+cx8,+cx16,+fxsr,+mmx,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+xsave,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe,-avx512f"  # fmt: skip
"""Named too: with NUMBA_CPU_NAME alone Numba takes the features of the machine."""


class Setting(NamedTuple):
    """Variables for all libraries, what the processor has to have for them, and what they have to lead to."""

    threads: int
    variables: dict
    needs: frozenset
    chosen: dict


SETTINGS = {
    "host": Setting(2, {}, frozenset(), {}),
    "sse": Setting(
        1,
        {
            "NUMBA_CPU_NAME": "generic",
            "ATEN_CPU_CAPABILITY": "default",
            "MKL_CBWR": "COMPATIBLE",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "OPENBLAS_CORETYPE": "Prescott",
            "NPY_DISABLE_CPU_FEATURES": "",  # filled in: all that NumPy would choose among
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX_Usable,-AVX2_Usable,-FMA_Usable",
        },
        frozenset(),
        {
            "numba": "generic, 16-byte registers, no fma",
            "torch": "DEFAULT",
            "mkl": "COMPATIBLE",
            "onednn": "SSE4.1",
            "openblas": "Katmai",  # what OpenBLAS calls the kernels that it has for Prescott and older
            "numpy": "baseline",
        },
    ),
    "avx2": Setting(
        4,
        {
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": HASWELL,
            "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_CBWR": "AVX2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "OPENBLAS_CORETYPE": "Haswell",
        },
        frozenset({"avx2", "fma"}),
        {"numba": "haswell, 32-byte registers, fma", "torch": "AVX2", "onednn": "avx2", "openblas": "Haswell"},
    ),
    "lanes": Setting(
        2,
        {"PYSCORE_TEST_LANES": "16", "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Nehalem"},
        frozenset({"sse4_2"}),
        {"lanes": "16", "mkl": "COMPATIBLE", "openblas": "Nehalem"},
    ),
    "avx512": Setting(
        2,
        {
            "NUMBA_CPU_NAME": "skylake-avx512",
            "ATEN_CPU_CAPABILITY": "avx512",
            "MKL_CBWR": "AVX512",
            "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
            "OPENBLAS_CORETYPE": "SkylakeX",
        },
        frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
        {"torch": "AVX512", "openblas": "SkylakeX", "lanes": "16"},
    ),
}

ASK = r"""
import json, os, re, subprocess, sys
import numpy as np
import other_lanes
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from threadpoolctl import threadpool_info
from pyscore.kernels.cpu._simd import LANES, TILE_ROWS
from pyscore.kernels.cpu._target import target
np.ones((2, 2)) @ np.ones((2, 2))
import scipy.linalg
said = {}
t = target()
said["numba"] = f"{t.name}, {t.register_bytes}-byte registers, {'fma' if t.fused else 'no fma'}"
said["lanes"] = str(LANES)
said["tile rows"] = str(TILE_ROWS)
said["openblas"] = "/".join(sorted({p["architecture"] for p in threadpool_info() if p["internal_api"] == "openblas"}))
said["numpy"] = " ".join(f for f in __cpu_dispatch__ if __cpu_features__.get(f)) or "baseline"
try:
    import torch
except ImportError:
    said["torch"] = "not installed"
else:
    import ctypes, glob
    said["torch"] = torch.backends.cpu.get_cpu_capability()
    library = ctypes.CDLL(glob.glob(os.path.dirname(torch.__file__) + "/lib/libtorch_cpu.so")[0])
    names = {1: "off", 2: "AUTO", 3: "COMPATIBLE", 4: "SSE2", 6: "SSSE3", 7: "SSE4_1", 8: "SSE4_2", 9: "AVX", 10: "AVX2",
             12: "AVX512"}
    if hasattr(library, "mkl_serv_cbwr_get"):
        branch = library.mkl_serv_cbwr_get(1)
        said["mkl"] = names.get(branch, str(branch))
    code = "import torch; torch.nn.functional.conv2d(torch.ones(16, 1, 9, 9), torch.ones(1, 1, 5, 5))"
    shown = subprocess.run([sys.executable, "-c", code], env=os.environ | {"ONEDNN_VERBOSE": "1"}, capture_output=True, text=True)
    isa = re.search(r"info,cpu,isa:([^\n]+)", shown.stdout)
    said["onednn"] = isa.group(1) if isa else "did not say"
    said["threads"] = f"torch {torch.get_num_threads()}"
import numba
said["threads"] = f"numba {numba.get_num_threads()}, " + said.get("threads", "") + ", BLAS " + "/".join(
    sorted({str(p["num_threads"]) for p in threadpool_info()}))
print(json.dumps(said))
"""


def processor_features():
    """Flags as Linux names them, or None where it is not Linux on x86."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), None)
    return None if flags is None else set(flags)


def environment(name, setting, folder):
    """All variables for a setting's processes, and which of them it sets."""
    kept = {k: v for k, v in os.environ.items() if not any(k in other.variables for other in SETTINGS.values())}
    kept |= dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), str(setting.threads)
    )
    kept |= {"PYTHONPATH": str(ROOT / "tests"), "PYSCORE_RECORD_ERRORS": str(folder / "errors.jsonl")}
    variables = dict(setting.variables)
    if "NPY_DISABLE_CPU_FEATURES" in variables:
        code = "from numpy._core._multiarray_umath import __cpu_dispatch__ as d, __cpu_features__ as f; print(*(k for k in d if f.get(k)))"
        found = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True)
        variables["NPY_DISABLE_CPU_FEATURES"] = found.stdout.strip()
    if name != "host":  # settings that run at once would overwrite each other's entries in one cache
        cache = ROOT / ".portable" / name
        cache.mkdir(parents=True, exist_ok=True)
        kept["NUMBA_CACHE_DIR"] = str(cache)
    return kept | variables, variables


class Result(NamedTuple):
    name: str
    state: str
    chosen: dict
    given: dict
    tests: str = ""
    worst: str = ""
    seconds: float = 0.0


def run(name, tests, folder):
    """One setting: ask the libraries, run the tests, read what they recorded."""
    setting, began = SETTINGS[name], time.monotonic()
    features = processor_features()
    if features is not None and (lacking := sorted(setting.needs - features)):
        return Result(name, f"not possible here: this processor lacks {', '.join(lacking)}", {}, setting.variables)
    folder.mkdir(parents=True, exist_ok=True)
    variables, given = environment(name, setting, folder)
    asked = subprocess.run([sys.executable, "-c", ASK], env=variables, capture_output=True, text=True, check=False)
    if asked.returncode:
        return Result(name, "FAILED: the libraries do not load", {}, given, worst=asked.stderr[-2000:])
    chosen = json.loads(asked.stdout.splitlines()[-1])
    print(f"── {name}: " + "; ".join(f"{k} {v}" for k, v in chosen.items()), flush=True)
    wrong = {
        library: chosen.get(library)
        for library, wanted in setting.chosen.items()
        if chosen.get(library) not in (None, "not installed") and not _same(wanted, chosen[library])
    }
    if wrong:
        return Result(name, f"FAILED: the setting was not taken: {wrong}, wanted {setting.chosen}", chosen, given)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not cuda and not julia", "--durations=5",
               f"--junitxml={folder / 'junit.xml'}", "-n0", f"--deselect={LEFT_OUT}", *tests]  # fmt: skip
    with (folder / "log.txt").open("w") as log:
        status = subprocess.call(command, env=variables, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    state = "passed" if status == 0 else f"FAILED, see {folder / 'log.txt'}"
    if status:
        print("\n".join((folder / "log.txt").read_text().splitlines()[-40:]), flush=True)
    return Result(name, state, chosen, given, *_recorded(folder), time.monotonic() - began)


def _same(wanted, found):
    """Whether a library's answer is the wanted one; oneDNN puts the maker first, SciPy may bring an OpenBLAS of its own."""
    found = found.lower().removeprefix("intel ")
    return set(found.split("/")) == {wanted.lower()}


def _recorded(folder):
    """How many tests ran, and the largest error in units of its bound."""
    try:
        suite = ET.parse(folder / "junit.xml").getroot().find("testsuite")
        count = int(suite.get("tests")), int(suite.get("skipped"))
        tests = f"{count[0] - count[1]}" + (f" ({count[1]} skipped)" if count[1] else "")
        failed = {case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None}
    except (OSError, ET.ParseError):
        tests, failed = "none", set()
    try:
        lines = [json.loads(line) for line in (folder / "errors.jsonl").read_text().splitlines()]
    except OSError:
        lines = []
    for line in lines:
        line["test"] = (line["test"] or "").removeprefix("tests/").removesuffix(" (call)")
    # A comparison above its bound in a test that passed is one that has to fail: a planted error.
    held = [line for line in lines if line["ratio"] <= 1 or line["test"].partition("::")[2] in failed]
    if not held:
        return tests, "nothing recorded"
    top = max(held, key=lambda line: line["ratio"])
    planted = len(lines) - len(held)
    return tests, (
        f"{top['ratio']:.2f} of the bound, of {len(held)} comparisons: {top['what']} {top['test']}"
        f" ({planted} planted errors were seen)"
    )


def table(results):
    from rich.console import Console
    from rich.table import Table

    out = Table("setting", "variables", "chosen", "tests", "largest error", "outcome", show_lines=True)
    for r in results:
        setting = SETTINGS[r.name]
        given = "\n".join(f"{k}={v if len(v) < 30 else v[:27] + '…'}" for k, v in r.given.items())
        chosen = "\n".join(f"{k}: {v}" for k, v in r.chosen.items())
        took = f"\n{r.seconds:.0f} s" if r.seconds else ""
        out.add_row(r.name, f"threads={setting.threads}\n{given}", chosen, r.tests, r.worst, r.state + took)
    Console(width=max(150, shutil.get_terminal_size().columns)).print(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=SETTINGS, help="one setting; may be given again")
    parser.add_argument("--jobs", type=int, default=max(1, min(2, os.cpu_count() or 1)), help="settings at a time")
    parser.add_argument("tests", nargs="*", help="instead of all numerical tests")
    given = parser.parse_args()
    names = given.only or list(SETTINGS)
    tests = given.tests or [f"tests/{name}" for name in TESTS]
    folder = Path(tempfile.mkdtemp(prefix="pyscore-portable-"))  # stays, since its logs are named below
    with ThreadPoolExecutor(given.jobs) as pool:
        results = list(pool.map(lambda name: run(name, tests, folder / name), names))
    table(results)
    return 1 if any(r.state.startswith("FAILED") for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
