"""Networks, points and Jacobians for the tests of kernels, and what they should give, as functions."""

from itertools import pairwise

import mpmath
import numpy as np
from closeness import assert_close, assert_conditioned

from pyscore import reference
from pyscore.convention import ORIGINAL
from pyscore.reference import network
from pyscore.reference.network import Dense

ROWS = (0, 1, 2, 33, 257)
DTYPES = (np.float32, np.float64)
ACTIVATIONS = tuple(network.ACTIVATIONS)


def assert_close_eps(computed, expected, *, k, scale, eps):
    """`assert_close` with a scale that a test of the CUDA kernels derives from its inputs."""
    dtype = np.float32 if eps == np.finfo(np.float32).eps else np.float64
    assert_close(computed, expected, k, scale, dtype)


def layers(sizes, dtype, seed=0):
    """Dense layers as Flux initialises them, with small biases, so that a dropped bias is seen."""
    rng = np.random.default_rng(seed)
    return [
        Dense(
            (rng.uniform(-1, 1, (out, inputs)) * np.sqrt(6 / (inputs + out))).astype(dtype),
            (0.1 * rng.standard_normal(out)).astype(dtype),
        )
        for inputs, out in pairwise(sizes)
    ]


def sphere(n, k, dtype, seed=0, spread=1.0):
    """Rows of unit norm, all over the sphere or (small spread) near e1."""
    z = spread * np.random.default_rng(seed).standard_normal((n, k))
    z[:, 0] += 1.0
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(dtype)


def rows(n, d, dtype, seed=1):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


def jacobians(n, d, k, cond, dtype, seed=2):
    """Matrices with singular values spread evenly in the logarithm from 1 to 1/cond."""
    rng = np.random.default_rng(seed)
    out = np.empty((n, d, k))
    s = np.logspace(0, -np.log10(cond), min(d, k))
    for i in range(n):
        u = np.linalg.qr(rng.standard_normal((d, min(d, k))))[0]
        v = np.linalg.qr(rng.standard_normal((k, min(d, k))))[0]
        out[i] = (u * s) @ v.T
    return out.astype(dtype)


def exact_log_volume(jacobian, digits=60):
    """½ log det of the smaller Gram matrix in mpmath."""
    with mpmath.workdps(digits):
        a = mpmath.matrix(jacobian.astype(float).tolist())
        gram = a.T * a if a.rows >= a.cols else a * a.T
        return float(mpmath.log(mpmath.det(gram)) / 2)


def exact_kernel_mean(x, y, c, digits=40):
    """Mean of c/(c + max(0, 1−x·y)) over pairs of rows (of different rows if y is None) in mpmath."""
    with mpmath.workdps(digits):
        a = [[mpmath.mpf(float(v)) for v in row] for row in x]
        b = a if y is None else [[mpmath.mpf(float(v)) for v in row] for row in y]
        width, total, pairs = mpmath.mpf(float(c)), mpmath.mpf(0), 0
        for i, p in enumerate(a):
            for j, q in enumerate(b):
                if y is None and i == j:
                    continue
                distance = max(mpmath.mpf(0), 1 - mpmath.fdot(p, q))
                total += width / (width + distance)
                pairs += 1
        return float(total / pairs)


def decoder(net, activation, tangent):
    """z ↦ decoded rows and log-volume in the last column, in float64."""

    def evaluate(z):
        decoded, jacobian = network.mlp_jacobian(z, net, activation)
        if tangent:
            jacobian = jacobian @ reference.tangent_frame(z)
        return np.column_stack([decoded, reference.log_volume(jacobian, warn=False)])

    return evaluate


def encoder(net, activation, convention):
    """x ↦ mu and the log-volume of TᵀJ in the last column, in float64."""

    def evaluate(x):
        mu, jacobian = network.encoder_jacobian(x, net[:-1], net[-1], activation, convention=convention)
        jacobian = np.swapaxes(reference.tangent_frame(mu), 1, 2) @ jacobian
        return np.column_stack([mu, reference.log_volume(jacobian, warn=False)])

    return evaluate


def assert_decoder(kernels, net, activation, z, tangent, **options):
    """The kernel's decoded rows and volumes are the reference's; returns the result."""
    result = kernels.decoder_log_volume(net, activation, z, tangent, **options)
    assert result.decoded.dtype == z.dtype
    got = np.column_stack([result.decoded, result.volume])
    assert_conditioned(got, None, decoder(net, activation, tangent), (z,), z.dtype)
    return result


def assert_encoder(kernels, net, activation, x, convention, **options):
    with reference.precision(x.dtype):
        norm_eps = reference.machine_eps() if convention is ORIGINAL else 0.0
        result = kernels.encoder_log_volume(net, activation, x, norm_eps=norm_eps, **options)
        got = np.column_stack([result.mu, result.volume])
        assert_conditioned(got, None, encoder(net, activation, convention), (x,), x.dtype)


def decoder_case(k, d, h, dtype, activation, z, tangent):
    """Layers, and in float64 the decoded rows, log-volumes and condition numbers of their Jacobians."""
    net = layers((k, h, h, h, d), dtype)
    decoded, jacobian = network.mlp_jacobian(z.astype(np.float64), net, activation)
    if tangent:
        jacobian = jacobian @ reference.tangent_frame(z.astype(np.float64))
    return net, decoded, *volume_and_condition(jacobian)


def encoder_case(d, k, h, dtype, activation, x, convention):
    """Layers, and in float64 mu and the log-volume and condition numbers of TᵀJ."""
    net = layers((d, h, h, h, k), dtype)
    mu, jacobian = network.encoder_jacobian(
        x.astype(np.float64), net[:-1], net[-1], activation, convention=convention
    )
    jacobian = np.swapaxes(reference.tangent_frame(mu), 1, 2) @ jacobian
    return net, mu, *volume_and_condition(jacobian)


def volume_and_condition(jacobian):
    s = np.linalg.svd(jacobian, compute_uv=False)
    with np.errstate(divide="ignore"):
        return np.log(s).sum(axis=1), s[:, 0] / s[:, -1] if s.shape[1] else np.ones(len(s))


def layouts(array):
    """The same numbers as (name, array): as they are, read-only, Fortran order, strided, reversed."""
    frozen = array.copy()
    frozen.flags.writeable = False
    wide = np.zeros((2 * array.shape[0], *array.shape[1:]), array.dtype)
    wide[::2] = array
    return {
        "contiguous": array,
        "read-only": frozen,
        "fortran": np.asfortranarray(array),
        "strided": wide[::2],
        "reversed": array[::-1].copy()[::-1],
    }
