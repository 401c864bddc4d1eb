"""Two formulas in the original's order of operations, for the scale of a comparison with its recordings."""

import dataclasses
import functools

import numpy as np

from pyscore import reference
from pyscore.backends.stochastic import scale_of
from pyscore.convention import ORIGINAL

LATER = dataclasses.replace(ORIGINAL, width_distance="columnwise")
"""IPMeasures v0.2.5."""


def later_criterion(x, y, widths):
    """The criterion of v0.2.5, which takes n·k(0) off a sum rather than leave the diagonal out.

    A point's own distance is a rounding of 0, which a width near 1e-8 turns into a part of the kernel value.
    """
    values, m = [], len(x)
    for c in widths:
        xx, xy, yy = (
            c / (c + reference.pairwise_distance(a, b, convention=LATER)) for a, b in ((x, x), (x, y), (y, y))
        )
        sums = reference.KernelSums(
            xx.sum(axis=0) - 1, yy.sum(axis=0) - 1, xy.sum(axis=1), xy.sum(axis=0),
            (xx**2).sum() - m, (yy**2).sum() - m, (xy**2).sum(),
        )  # fmt: skip
        statistic, variance = reference.mmd_variance_of_sums(sums, convention=LATER)
        values.append(statistic / np.sqrt(max(variance, np.finfo(float).eps)))
    return np.array(values)


def criterion_scale(x, y, convention):
    """Scale of the width criterion on the script's grid: of every fifth width, since it is smooth in the width."""
    widths, few = reference.WIDTH_GRID, reference.WIDTH_GRID[::5]
    own = functools.partial(reference.imq_width_criterion, convention=convention)
    evaluate = functools.partial(later_criterion if convention == LATER else own, widths=few)
    scale = scale_of(evaluate, (x, y), np.float64, draws=12)
    return np.exp(np.interp(np.log(widths), np.log(few), np.log(scale)))


def originals_correction(decode):
    """`log_density_corrected` as the original evaluates it: I + (JᵀJ)⁻¹ as a matrix, which squares the condition."""

    def evaluate(x, z):
        x_hat, jacobian = decode(z)
        plain = reference.log_density_corrected(x, x_hat, z, jacobian, convention=ORIGINAL)
        covariance = np.eye(z.shape[1]) + np.linalg.inv(np.swapaxes(jacobian, 1, 2) @ jacobian)
        square = np.sum(z * np.linalg.solve(covariance, z[..., None])[..., 0], axis=1)
        return np.column_stack([plain, square, 0.5 * np.sum(np.log(np.linalg.eigvalsh(covariance)), axis=1)])

    return evaluate
