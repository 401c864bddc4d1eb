"""Forward and backward pass of one Dense layer over a batch, on columns of Lanes.

A batch of C columns is C·LANES samples; feature f of column c starts at c·step + f·LANES. Parameters stay in the
panels that the register tile reads (see `_network.pack`) all through training, gradients have the same layout,
and Wᵀ, which the deltas are pushed through, is written anew after each update.
"""

from pyscore.kernels.cpu._activations import activate
from pyscore.kernels.cpu._compile import njit
from pyscore.kernels.cpu._network import BIAS_AT, INPUTS, OUTPUTS, WEIGHTS_AT, layer_product, padded
from pyscore.kernels.cpu._simd import LANES, TILE_ROWS, load, splat, store
from pyscore.kernels.cpu._transpose import features_to_lanes, features_to_panels, split_lanes, transpose_panel

__all__ = ["backward", "forward", "transpose_weights", "weight_gradient"]


@njit
def forward(values, layer, code, source, target, slopes, step, columns):
    """target ← φ(W·source + b), slopes ← φ'."""
    layer_product(values, layer[WEIGHTS_AT], layer[INPUTS], layer[OUTPUTS], source, step, target, step, columns)
    for c in range(columns):
        activate(code, layer[OUTPUTS], target, c * step, values, layer[BIAS_AT], slopes, c * step)


@njit
def backward(turned, layer, delta, target, slopes, step, columns):
    """target ← (Wᵀ·delta) ⊙ slopes, the gradient before the activation of the layer below."""
    inputs = layer[INPUTS]
    layer_product(turned, 0, layer[OUTPUTS], inputs, delta, step, target, step, columns)
    for c in range(columns):
        for f in range(inputs):
            at = c * step + f * LANES
            store(target, at, load(target, at) * load(slopes, at))


@njit
def transpose_weights(values, layer, turned):
    """Write panels [inputs/TILE_ROWS][output][TILE_ROWS] of Wᵀ; what pads a panel stays zero."""
    inputs, outputs, weights_at = layer[INPUTS], layer[OUTPUTS], layer[WEIGHTS_AT]
    for panel in range(0, outputs, TILE_ROWS):
        rows = min(TILE_ROWS, outputs - panel)
        whole = inputs // TILE_ROWS * TILE_ROWS if rows == TILE_ROWS else 0
        for i in range(0, whole, TILE_ROWS):
            source = weights_at + panel * inputs + i * TILE_ROWS
            transpose_panel(values, source, turned, i * outputs + panel * TILE_ROWS)
        for i in range(whole, inputs):
            source = weights_at + panel * inputs + i * TILE_ROWS
            target = i // TILE_ROWS * TILE_ROWS * outputs + panel * TILE_ROWS + i % TILE_ROWS
            for r in range(rows):
                turned[target + r * TILE_ROWS] = values[source + r]


@njit
def weight_gradient(layer, source, delta, step, columns, left, right, product, gradient):
    """gradient ← Σ_s delta_s source_sᵀ and Σ_s delta_s over all lanes, in the layout of the values.

    Both are turned to [sample][feature], so that the sum over samples is the register tile's own loop; `left`,
    `right` and `product` are scratch. Lanes without a sample have to have a delta of zero.
    """
    inputs, outputs = layer[INPUTS], layer[OUTPUTS]
    samples, height = columns * LANES, padded(inputs)
    features_to_panels(inputs, columns, source, step, left, samples * TILE_ROWS)
    features_to_lanes(outputs, columns, delta, step, right, samples * LANES)
    blocks = (outputs + LANES - 1) // LANES
    layer_product(left, 0, samples, inputs, right, samples * LANES, product, height * LANES, blocks)
    for block in range(blocks):
        first = block * LANES
        source_at, target_at = block * height * LANES, layer[WEIGHTS_AT] + first * inputs
        if first + LANES <= padded(outputs):
            for i in range(inputs):
                at = target_at + i * TILE_ROWS
                split_lanes(product, source_at + i * LANES, gradient, at, TILE_ROWS * inputs)
        else:
            for i in range(inputs):
                for r in range(TILE_ROWS):
                    gradient[target_at + i * TILE_ROWS + r] = product[source_at + i * LANES + r]
        total = splat(0.0, right)
        for s in range(samples):
            total = total + load(right, block * samples * LANES + s * LANES)
        store(product, 0, total)
        for r in range(min(LANES, outputs - block * LANES)):
            gradient[layer[BIAS_AT] + block * LANES + r] = product[r]
