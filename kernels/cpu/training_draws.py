"""The draws of one training step for a whole stack of models: `reference.sampling.TrainingDraws`, to rounding."""

import numpy as np
from numpy.typing import NDArray

from pyscore.errors import ShapeError
from pyscore.kernels.cpu._compile import compiled
from pyscore.kernels.cpu._philox import indices
from pyscore.kernels.cpu._vmf import accepted_draw

__all__ = ["batch_and_components", "vmf_draws"]


@compiled
def _indices(seeds, stream, step, purpose, bound, out):
    words = np.empty(4, np.uint64)
    for member in range(seeds.size):
        indices(seeds[member], stream, step, purpose, bound, out[member], words)


@compiled
def _vmf(seeds, stream, step, kappa, epsilon, v):
    words, g = np.empty(4, np.uint64), np.empty(v.shape[2] + 1)
    for member in range(seeds.size):
        for row in range(kappa.shape[1]):
            epsilon[member, row] = accepted_draw(seeds[member], stream, step, 2, row, kappa[member, row], g, words)
            v[member, row] = g[1:]


def batch_and_components(
    seeds: NDArray[np.int64], stream: int, step: int, rows: int, p: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the batch and components of the prior, each (models, size)."""
    chosen, components = (np.empty((seeds.size, size), np.int64) for _ in range(2))
    _indices(seeds, stream, step, 0, rows, chosen)
    _indices(seeds, stream, step, 1, p, components)
    return chosen, components


def vmf_draws(
    seeds: NDArray[np.int64], stream: int, step: int, kappa: NDArray[np.float64], k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accepted ε (models, size) and v (models, size, k−1) for concentrations kappa (models, size)."""
    if kappa.ndim != 2 or len(kappa) != len(seeds):
        raise ShapeError(f"`kappa` must have shape ({len(seeds)}, size); got {kappa.shape}.")
    epsilon, v = np.empty(kappa.shape), np.empty((*kappa.shape, k - 1))
    _vmf(seeds, stream, step, np.ascontiguousarray(kappa), epsilon, v)
    return epsilon, v
