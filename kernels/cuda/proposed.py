"""All terms of the proposed score, on the device from x to the terms."""

import math
from functools import cache
from typing import Any

import numpy as np

from pyscore.errors import ShapeError
from pyscore.kernels.cpu.proposed import Terms
from pyscore.kernels.cuda._launch import blocks_for, check_rows
from pyscore.kernels.cuda._network import Layers, Packed, pack
from pyscore.kernels.cuda._target import Output, cuda, is_device_array, to_device
from pyscore.kernels.cuda.decoder_log_volume import decoder_log_volume
from pyscore.kernels.cuda.log_likelihood import log_likelihood
from pyscore.kernels.cuda.log_prior import log_prior
from pyscore.kernels.cuda.mlp import mlp

__all__ = ["Terms", "proposed"]

_THREADS = 128


@cache
def _make_normalize(dtype: Any) -> Any:
    zero, one = dtype(0.0), dtype(1.0)

    @cuda.jit
    def kernel(v, eps):
        for row in range(cuda.grid(1), v.shape[0], cuda.gridsize(1)):
            square = dtype(eps)
            for i in range(v.shape[1]):
                square += v[row, i] * v[row, i]
            root = dtype(math.sqrt(square))
            for i in range(v.shape[1]):
                pole = one if i == 0 else zero
                v[row, i] = pole if square == zero else v[row, i] / root

    return kernel


def proposed(
    encoder: Layers | Packed,
    decoder: Layers | Packed,
    activation: str,
    x: Any,
    mu_u: Any,
    kappa_u: Any,
    log_normaliser: Any,
    tangent: bool = True,
    *,
    sigma2: Any = 1.0,
    log_two_pi: float | None = None,
    norm_eps: float = 0.0,
    keep: frozenset[str] = frozenset(),
    samples: int | None = None,
    stream: Any = 0,
) -> Terms:
    """Likelihood, prior and decoder volume at z = mu(x) of every row; see `pyscore.kernels.cpu`.

    Five launches in one stream. Codes and reconstructions go through device memory between them: 40 numbers a
    row at d = 30 and k = 9, 0.1 ms for 10⁶ rows, against 200,000 operations a row in the one that matters.
    """
    packed_encoder = encoder if isinstance(encoder, Packed) else pack(encoder, activation)
    packed_decoder = decoder if isinstance(decoder, Packed) else pack(decoder, activation)
    d, k = packed_encoder.sizes[0], packed_encoder.sizes[-1]
    got = packed_decoder.sizes[0], packed_decoder.sizes[-1]
    if got != (k, d):
        raise ShapeError(f"`decoder` must map {k} latents to {d} features, the encoder's reverse; got {got}.")
    dtype = np.dtype(packed_encoder.values.dtype)
    x = check_rows("x", x, d, dtype)
    n = x.shape[0]
    output = Output(is_device_array(x), stream)
    if not n:
        return Terms(*(np.empty(0) for _ in range(5)), np.empty((0, k), dtype), np.empty((0, d), dtype))
    rows = to_device(x, stream)
    z = mlp(packed_encoder, activation, rows, samples=samples, stream=stream)
    _make_normalize(dtype.type)[blocks_for(n, _THREADS), _THREADS, stream](z, float(norm_eps))
    volume = decoder_log_volume(packed_decoder, activation, z, tangent, samples=samples, stream=stream)
    options = {"log_two_pi": log_two_pi, "stream": stream}
    likelihood = log_likelihood(rows, volume.decoded, sigma2, **options)
    density = log_prior(z, mu_u, kappa_u, log_normaliser, stream=stream)
    arrays = likelihood, density, volume.volume, volume.smallest, volume.largest
    kept_z = output.give(z, (n, k)) if "z" in keep else np.empty((0, k), dtype)
    kept_decoded = output.give(volume.decoded, (n, d)) if "decoded" in keep else np.empty((0, d), dtype)
    return Terms(*(output.give(array, (n,)) for array in arrays), kept_z, kept_decoded)
