"""The processor that Numba compiles for, and the width of its registers as LLVM uses them.

NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose a processor that need not be this machine's, so what llvmlite says
about the machine is no guide. Numba's target is a triple, a name and features, and these three key its cache on
disk. What this package fixes at compile time (`_simd.LANES`, `_simd.TILE_ROWS`) is a function of the three alone:
a cached kernel never meets arrays that were laid out for another target.
"""

from functools import cache
from typing import NamedTuple

from llvmlite import binding as llvm
from numba.core.registry import cpu_target

__all__ = ["Target", "describe", "target"]

_PROBE = """
target triple = "{triple}"
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @probe(<16 x float>* %p) {{
  %a = load <16 x float>, <16 x float>* %p
  %d = fadd <16 x float> %a, %a
  %b = call <16 x float> @llvm.fma.v16f32(<16 x float> %d, <16 x float> %a, <16 x float> %d)
  store <16 x float> %b, <16 x float>* %p
  ret void
}}
"""


class Target(NamedTuple):
    """What Numba compiles for."""

    triple: str
    name: str
    features: str
    """As LLVM writes them, ``+avx2,-avx512f,…``; empty where the name alone decides."""
    register_bytes: int
    """Width of a vector register: 64 with AVX-512, 32 with AVX, 16 otherwise."""
    registers: int
    """How many there are."""
    fused: bool
    """Whether a multiply-add is one instruction. If not, LLVM calls the C library: slower, the same bits."""


@cache
def target() -> Target:
    """Return Numba's own target."""
    return describe(*cpu_target.target_context.codegen().magic_tuple())


def describe(triple: str, name: str, features: str) -> Target:
    """Ask LLVM: compile sixteen additions and multiply-adds for a target and look at their registers."""
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=name, features=features, opt=2)
    text = machine.emit_assembly(llvm.parse_assembly(_PROBE.format(triple=triple)))
    if not triple.startswith("x86_64"):  # 64-bit ARM: 32 registers of 16 bytes
        return Target(triple, name, features, 16, 32, "fmaf" not in text)
    width = 64 if "zmm" in text else 32 if "ymm" in text else 16
    return Target(triple, name, features, width, 32 if width == 64 else 16, "vfmadd" in text or "vfmsub" in text)
