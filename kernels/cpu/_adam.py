"""ADAM on a flat array of parameters."""

from pyscore._core.constants import BETAS
from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._simd import LANES, load, narrow_like, sqrt, store, widen

__all__ = ["adam"]


@njit
def adam(values, gradient, m, v, power_1, power_2, rate):
    """Take one step: as `minimise.adam_step`, in float64 on moments of the parameters' type.

    The two corrections 1/(1−βᵗ) are multiplied with, not divided by: one division and one root a number are
    what the step costs. The arrays' size is a multiple of LANES.
    """
    first, second = 1.0 / (1.0 - power_1), 1.0 / (1.0 - power_2)
    for at in range(0, values.size, LANES):
        g = load(gradient, at)
        mean = narrow_like(BETAS[0] * widen(load(m, at)) + (1 - BETAS[0]) * widen(g), g)
        square = narrow_like(BETAS[1] * widen(load(v, at)) + (1 - BETAS[1]) * widen(g * g), g)
        store(m, at, mean)
        store(v, at, square)
        step = widen(mean) * (first * rate) / (sqrt(widen(square) * second) + 1e-8)
        store(values, at, load(values, at) - narrow_like(step, g))
