"""A multilayer perceptron, packed for the register tile, and its forward pass over columns of Lanes.

A *column* is a vector of features (a value, a tangent or a cotangent) of LANES samples: [feature][lane],
contiguous. A *group* is LANES samples: its value column followed by its tangent columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyscore.errors import InvalidInput, ShapeError
from pyscore.kernels.cpu._activations import activate, activate_values, activation_code, multiply_columns
from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._simd import (
    LANES,
    TILE_ROWS,
    tile_columns,
    tile_product_1,
    tile_product_2,
    tile_product_3,
)

__all__ = ["INPUTS", "OUTPUTS", "Packed", "aligned", "layer_product", "pack", "padded", "push", "push_values"]

Layers = Sequence[tuple[NDArray, NDArray]]
INPUTS, OUTPUTS, WEIGHTS_AT, BIAS_AT = range(4)


class Packed(NamedTuple):
    """Weights in the order in which the register tile reads them."""

    values: NDArray
    """Flat. A layer is its panels [outputs / TILE_ROWS][inputs][TILE_ROWS], zero-padded, then its bias."""
    plan: NDArray
    """(layers, 4) int64: INPUTS, OUTPUTS, WEIGHTS_AT, BIAS_AT of each layer."""
    activation: int
    """Code of the activation after each layer but the last."""

    @property
    def widest(self) -> int:
        """Largest number of features anywhere, padded to whole tiles."""
        return int(padded(self.plan[:, :2].max()))


@njit
def padded(features):
    """`features` rounded up to whole register tiles."""
    return (features + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS


def pack(layers: Layers, activation: str, *, transposed: bool = False) -> Packed:
    """Pack (weight (out, in), bias (out,)) pairs; `transposed` packs Wᵀ, in reverse order, for reverse mode.

    Raises
    ------
    ShapeError
        If the layers do not fit each other.
    InvalidInput
        If they are not all float32 or all float64, or the activation is unknown.
    """
    _check_layers(layers)
    code = activation_code(activation)
    pieces, plan, at = [], [], 0
    for weight, bias in reversed(layers) if transposed else layers:
        matrix = weight.T if transposed else weight
        out, inputs = matrix.shape
        rows = -(-out // TILE_ROWS) * TILE_ROWS
        panels = np.zeros((rows, inputs), weight.dtype)
        panels[:out] = matrix
        shift = np.zeros(rows, weight.dtype)
        if not transposed:
            shift[:out] = bias
        pieces += [panels.reshape(-1, TILE_ROWS, inputs).transpose(0, 2, 1).ravel(), shift]
        plan.append((inputs, out, at, at + rows * inputs))
        at += rows * (inputs + 1)
    return Packed(np.concatenate(pieces), np.array(plan, np.int64), code)


def _check_layers(layers: Layers) -> None:
    if not layers:
        raise ShapeError("`layers` must hold at least one (weight, bias) pair; got none.")
    dtype = layers[0][0].dtype
    if dtype not in (np.float32, np.float64):
        raise InvalidInput(f"`layers` must be float32 or float64 arrays; got {dtype}.")
    inputs = layers[0][0].shape[1]
    for index, (weight, bias) in enumerate(layers):
        if weight.dtype != dtype or bias.dtype != dtype:
            raise InvalidInput(f"layer {index} must be {dtype} like the first; got {weight.dtype}, {bias.dtype}.")
        if weight.ndim != 2 or weight.shape[1] != inputs or bias.shape != weight.shape[:1]:
            raise ShapeError(
                f"layer {index} must have weight (out, {inputs}) and bias (out,); "
                f"got {weight.shape}, {bias.shape}."
            )
        inputs = weight.shape[0]


@njit
def aligned(size, dtype_like):
    """Flat scratch of `size` numbers that starts on a cache line, so that no vector load straddles two."""
    raw = np.empty(size + 64, dtype_like.dtype)
    skip = (-raw.ctypes.data % 64) // raw.itemsize
    return raw[skip : skip + size]


@njit
def layer_product(values, weights_at, inputs, outputs, source, s_step, target, t_step, columns):
    """target[c] = W·source[c] for `columns` columns, tile by tile.

    Three columns a tile (24 accumulators) run at 0.97 of this machine's FMA peak; the one or two that are
    left over have too few chains to hide the latency of a multiply-add, which is why blocks hold 3 groups.
    """
    wide = tile_columns(source)
    first = 0
    while first < columns:
        left = min(columns - first, wide)
        for row in range(0, outputs, TILE_ROWS):
            w_at = weights_at + row * inputs
            s_at, t_at = first * s_step, first * t_step + row * LANES
            if left == 3:
                tile_product_3(values, w_at, inputs, source, s_at, s_step, target, t_at, t_step)
            elif left == 2:
                tile_product_2(values, w_at, inputs, source, s_at, s_step, target, t_at, t_step)
            else:
                tile_product_1(values, w_at, inputs, source, s_at, s_step, target, t_at, t_step)
        first += left


@njit
def push(values, plan, code, source, target, step, groups, columns, slopes, slopes_step):
    """Push groups of one value column and `columns` − 1 tangent columns through all layers.

    Returns the buffer that holds the result (`source` and `target` take turns); a column starts every `step`
    numbers. The slopes of layer l and group g stay in slopes[(l·groups + g)·slopes_step:] for reverse mode;
    slopes_step = 0 lets them overwrite each other.
    """
    layers = plan.shape[0]
    for layer in range(layers):
        inputs, outputs, weights_at, bias_at = plan[layer, 0], plan[layer, 1], plan[layer, 2], plan[layer, 3]
        layer_product(values, weights_at, inputs, outputs, source, step, target, step, groups * columns)
        linear = layer == layers - 1
        for g in range(groups):
            at, slopes_at = g * columns * step, (layer * groups + g) * slopes_step
            activate(0 if linear else code, outputs, target, at, values, bias_at, slopes, slopes_at)
            if not linear:
                multiply_columns(outputs, columns - 1, target, at + step, step, slopes, slopes_at)
        source, target = target, source
    return source


@njit
def push_values(values, plan, code, source, target, step, columns):
    """Push value columns alone through all layers: the numbers of `push`, without slopes."""
    layers = plan.shape[0]
    for layer in range(layers):
        inputs, outputs, weights_at, bias_at = plan[layer, 0], plan[layer, 1], plan[layer, 2], plan[layer, 3]
        layer_product(values, weights_at, inputs, outputs, source, step, target, step, columns)
        for c in range(columns):
            activate_values(0 if layer == layers - 1 else code, outputs, target, c * step, values, bias_at)
        source, target = target, source
    return source
