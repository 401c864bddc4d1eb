"""What the numba backend promises to the bit on every x86-64 and ARM processor, computed on small exact inputs.

python tests/promised_bits.py FILE.npz writes the arrays; tests/promised_bits.npz holds those of one machine. Inputs
are multiples of 2⁻²⁰ from Philox words, so that neither a logarithm nor a sum of NumPy's can move them.
"""

import sys

import numpy as np
import other_lanes  # noqa: F401  before the kernels

from pyscore.convention import EXACT, ORIGINAL
from pyscore.kernels import cpu
from pyscore.reference.model import SVAE, parameter_shapes
from pyscore.training.compiled import CompiledTrainer
from pyscore.training.config import TrainConfig

D, K, H, P = 7, 3, 12, 3
N, M = 37, 53
"""Rows: no multiple of a number of lanes, so that there is a border."""
STEPS = 20


def dyadic(seed, shape, dtype):
    """Numbers of (−1, 1)."""
    words = np.random.Philox(key=np.array([seed, 15], np.uint64)).random_raw(int(np.prod(shape)))
    return (((words >> np.uint64(43)).astype(np.float64) - 2.0**20) * 2.0**-20).reshape(shape).astype(dtype)


def model(dtype, activation="swish"):
    shapes = parameter_shapes(D, K, H, P)
    return SVAE.from_parameters(
        {name: dyadic(100 + i, shape, dtype) for i, (name, shape) in enumerate(shapes.items())}, activation
    )


def unit(rows):
    """Rows over their norm; the sum is in a fixed order, square root and division are exact everywhere."""
    square = np.zeros(len(rows), rows.dtype)
    for column in rows.T:
        square = square + column * column
    return rows / np.sqrt(square)[:, None]


def networks(dtype):
    for activation in cpu.ACTIVATIONS:
        made = model(dtype, activation)
        yield f"mlp_{activation}", cpu.mlp([tuple(layer) for layer in made.decoder], activation, codes(dtype))


def codes(dtype):
    return unit(dyadic(2, (N, K), dtype))


def volumes(dtype):
    made, x, z = model(dtype), dyadic(1, (N, D), dtype), codes(dtype)
    decoder = [tuple(layer) for layer in made.decoder]
    encoder = [*(tuple(layer) for layer in made.encoder), tuple(made.mu)]
    yield "log_volume", cpu.log_volume(dyadic(3, (N, D, K), dtype)).volume
    for name, tangent in (("tangent", True), ("ambient", False)):
        yield f"decoder_log_volume_{name}", cpu.decoder_log_volume(decoder, "swish", z, tangent).volume
    yield "encoder_log_volume", cpu.encoder_log_volume(encoder, "swish", x, True).volume
    prior = unit(dyadic(4, (P, K), np.float64)), np.array([1.0, 8.0, 40.0]), np.array([-2.5, -1.25, 3.0])
    for field, value in (
        cpu.proposed(encoder, decoder, "swish", x, *prior, keep=frozenset({"z", "decoded"}))._asdict().items()
    ):
        yield f"proposed_{field}", value
    yield "log_prior", cpu.log_prior(z, *prior)
    yield "log_likelihood", cpu.log_likelihood(x, dyadic(5, (N, D), dtype))


def pairs(dtype):
    x, y, widths = unit(dyadic(6, (N, K), dtype)), unit(dyadic(7, (M, K), dtype)), [0.001, 0.1, 1.0]
    yield "kernel_mean", cpu.kernel_mean(x, None, widths)
    yield "kernel_mean_cross", cpu.kernel_mean(x, y, widths)
    for kernel in ("gaussian", "rq"):
        yield f"kernel_mean_{kernel}", cpu.kernel_mean(x, y, widths, kernel=kernel, distance="squared_euclidean")
    yield "mmd_imq", cpu.mmd_imq(x, y, widths)
    for diagonal in ("removed", "kept"):
        for field, value in cpu.mmd_gradient(x, y, 0.01, diagonal=diagonal)._asdict().items():
            yield f"mmd_gradient_{diagonal}_{field}", np.asarray(value)


def training(dtype):
    x = dyadic(8, (N, D), dtype)
    for convention in (EXACT, ORIGINAL):
        config = TrainConfig(beta=1.0, c=0.01, steps=STEPS, batch_size=21, seed=5, convention=convention)
        run = CompiledTrainer(model(dtype), x, config)
        run.advance(STEPS)
        for name, value in run.model().parameters().items():
            yield f"trained_{convention.name}_{name}", value
        yield f"trained_{convention.name}_losses", run.history().to_numpy()


GROUPS = (networks, volumes, pairs, training)


def compute():
    return {
        f"{name}_{np.dtype(dtype).name}": value
        for dtype in (np.float32, np.float64)
        for group in GROUPS
        for name, value in group(dtype)
    }


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **compute())
