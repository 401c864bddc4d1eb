"""Networks, points and Jacobians for the tests of kernels, and the comparison that all of them use."""

from itertools import pairwise

import mpmath
import numpy as np

from pyscore import reference
from pyscore.backends.tolerance import record
from pyscore.reference import network
from pyscore.reference.network import Dense

ROWS = (0, 1, 2, 33, 257)
DTYPES = (np.float32, np.float64)
ACTIVATIONS = tuple(network.ACTIVATIONS)


def assert_close_eps(computed, expected, *, k, scale, eps):
    """|computed − expected| ≤ k·eps·scale, with NaN and infinities in the same places."""
    computed, expected = np.asarray(computed, np.float64), np.asarray(expected, np.float64)
    assert computed.shape == expected.shape, f"shape {computed.shape}, expected {expected.shape}"
    for name, of in (("NaN", np.isnan), ("+inf", np.isposinf), ("-inf", np.isneginf)):
        assert np.array_equal(of(computed), of(expected)), f"{name} in other places than expected"
    finite = np.isfinite(expected)
    error = np.abs(computed - expected)[finite] / (eps * np.broadcast_to(scale, expected.shape)[finite])
    if error.size:
        worst = int(np.argmax(error))
        record("", float(error[worst]), k)
        assert error[worst] <= k, (
            f"error of {error[worst]:.3g} eps·scale at entry {worst} of the finite ones, {k} allowed: "
            f"computed {computed[finite][worst]!r}, expected {expected[finite][worst]!r}"
        )


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
