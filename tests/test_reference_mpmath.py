"""The reference against mpmath at 50 digits: |error| ≤ K·eps·scale, scale being the sum of |terms|.

Inputs are float64 numbers, taken as they are: the oracle computes the exact value at the rounded input. K is the
smallest of ¼, ½, 1, 2, 3, 4, 6 that holds; what was measured stands beside it.
"""

import itertools
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest

from pyscore import reference as ref
from pyscore.convention import EXACT, ORIGINAL

EPS = float(np.finfo(np.float64).eps)
mp.mp.dps = 50

DIMENSIONS = (2, 3, 4, 9, 16, 33, 64)
KAPPAS = (0.0, 1e-8, 1e-4, 0.03, 0.5, 1.0, 3.7, 9.9, 12.0, 14.5, 21.0, 30.0, 77.7, 100.0, 700.0, 1234.5, 1e4)


def in_eps(got, want, scale):
    """Largest |got − want| in units of eps·scale, the difference being taken at 50 digits."""
    got, scale = np.ravel(np.asarray(got, np.float64)), np.ravel(np.asarray(scale, object))
    want = np.ravel(np.asarray(want, object))
    assert np.isfinite(got).all()
    assert got.shape == want.shape
    ratios = [abs(mp.mpf(float(g)) - w) / (EPS * s) for g, w, s in np.broadcast(got, want, scale)]
    return float(max(ratios))


def assert_within(k, got, want, scale):
    worst = in_eps(got, want, scale)
    assert worst <= k, f"error of {worst:.3g} eps·scale, more than {k}"


def exact(a):
    """Array of mpf, equal to the float64 array to the last bit."""
    return np.vectorize(lambda v: mp.mpf(float(v)), otypes=[object])(np.asarray(a, np.float64))


def unit(a):
    """Rows of an mpf array, normalised."""
    return np.array([row / mp.sqrt(sum(v * v for v in row)) for row in np.atleast_2d(a)], dtype=object)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def size(a, b):
    """Σ |a_i b_i|: the scale of a dot product."""
    return sum(abs(x * y) for x, y in zip(a, b, strict=True))


def on_sphere(rng, n, k):
    z = rng.standard_normal((n, k))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


# ── volumes ──────────────────────────────────────────────────────────────────────────────────────────────


def with_condition(rng, d, k, condition):
    """d×k matrix with singular values from 1 down to 1/condition, rounded to float64."""
    u, _ = np.linalg.qr(rng.standard_normal((d, k)))
    v, _ = np.linalg.qr(rng.standard_normal((k, k)))
    return (u * np.logspace(0, -np.log10(condition), k)) @ v.T


def exact_singular_values(j):
    s = mp.svd_r(mp.matrix([[mp.mpf(float(v)) for v in row] for row in j]), compute_uv=False)
    return list(s)


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4, 1e6, 1e8, 1e10, 1e12])
@pytest.mark.parametrize(("d", "k"), [(2, 1), (2, 2), (8, 2), (9, 9), (30, 4), (21, 8)])
def test_log_volume(d, k, condition):
    j = with_condition(np.random.default_rng(d * k), d, k, condition)
    s = exact_singular_values(j)
    # Weyl: each s_i moves by a multiple of eps·s_1, its logarithm by a multiple of eps·s_1/s_i.
    scale = sum(s[0] / v + abs(mp.log(v)) for v in s)
    want = sum(mp.log(v) for v in s)
    assert_within(1, ref.log_volume(j[None]), [want], scale)  # measured 0.57
    assert_within(1, ref.log_volume(j.T[None]), [want], scale)


@pytest.mark.parametrize("factor", [1e-150, 1e150])
def test_log_volume_of_huge_and_tiny_matrices(factor):
    j = with_condition(np.random.default_rng(0), 7, 3, 1e3) * factor
    s = exact_singular_values(j)
    scale = sum(s[0] / v + abs(mp.log(v)) for v in s)
    assert_within(0.5, ref.log_volume(j[None]), [sum(mp.log(v) for v in s)], scale)  # measured 0.21


# ── von Mises-Fisher ─────────────────────────────────────────────────────────────────────────────────────


def exact_log_0f1(kappa, k):
    return mp.log(mp.hyp0f1(mp.mpf(k) / 2, mp.mpf(kappa) ** 2 / 4))


def exact_log_area(k):
    return mp.log(2) + mp.mpf(k) / 2 * mp.log(mp.pi) - mp.loggamma(mp.mpf(k) / 2)


def exact_bessel_ratio(kappa, k):
    if kappa == 0:
        return mp.mpf(0)
    nu = mp.mpf(k) / 2
    return mp.besseli(nu, mp.mpf(kappa)) / mp.besseli(nu - 1, mp.mpf(kappa))


def exact_log_normaliser(kappa, k):
    return -exact_log_area(k) - exact_log_0f1(kappa, k)


def area_scale(k):
    return mp.log(2) + mp.mpf(k) / 2 * mp.log(mp.pi) + abs(mp.loggamma(mp.mpf(k) / 2))


def log_0f1_scale(kappa, k):
    """Sum of |terms| of log Γ(k/2) − (k/2−1) log(κ/2) + log I; below κ ≈ 10 a series of positive terms instead."""
    if kappa <= 10:
        return exact_log_0f1(kappa, k)
    nu, kappa = mp.mpf(k) / 2 - 1, mp.mpf(kappa)
    return abs(mp.loggamma(nu + 1)) + abs(nu * mp.log(kappa / 2)) + 2 * kappa + exact_log_0f1(kappa, k)


VMF_TABLE = [(kappa, k) for k in DIMENSIONS for kappa in KAPPAS]


@pytest.mark.parametrize("k", DIMENSIONS)
def test_log_vmf_normaliser(k):
    got = ref.log_vmf_normaliser(KAPPAS, k)
    scale = [area_scale(k) + log_0f1_scale(kappa, k) for kappa in KAPPAS]
    assert_within(3, got, [exact_log_normaliser(kappa, k) for kappa in KAPPAS], scale)  # measured 2.07


# The first dimension with the uniform expansion, the last of even order and the first from which `ive` underflows.
LARGE_DIMENSIONS = (402, 403, 788, 1000, 5000)


@pytest.mark.parametrize("k", LARGE_DIMENSIONS)
def test_log_vmf_normaliser_of_large_dimensions(k):
    want = [exact_log_0f1(kappa, k) for kappa in KAPPAS]
    # No cancellation here: the error is relative to the result itself, which is 0 at κ = 0.
    assert_within(2, ref.special.log_0f1(np.array(KAPPAS[1:]), k), want[1:], want[1:])  # measured 1.54
    got = ref.log_vmf_normaliser(KAPPAS, k)
    scale = [area_scale(k) + abs(w) for w in want]
    assert_within(1, got, [exact_log_normaliser(kappa, k) for kappa in KAPPAS], scale)  # measured 0.76


@pytest.mark.parametrize("k", LARGE_DIMENSIONS)
def test_bessel_ratio_of_large_dimensions(k):
    want = [exact_bessel_ratio(kappa, k) for kappa in KAPPAS[1:]]
    assert_within(4, ref.special.bessel_ratio(np.array(KAPPAS[1:]), k), want, want)  # measured 2.54


@pytest.mark.parametrize("k", [3, 4, 5, 20])
def test_bessel_functions_of_middling_concentrations(k):
    """Relative to the result, as everywhere: scipy's `ive` is off by 20 roundings there, for κ up to 25."""
    kappas = np.random.default_rng(k).uniform(5, 60, 100)
    want = [exact_log_0f1(kappa, k) for kappa in kappas]
    assert_within(4, ref.special.log_0f1(kappas, k), want, want)  # measured 0.6 to 1.8
    want = [exact_bessel_ratio(kappa, k) for kappa in kappas]
    assert_within(8, ref.special.bessel_ratio(kappas, k), want, want)  # measured 1.1 to 3.4


@pytest.mark.parametrize("k", DIMENSIONS)
def test_log_vmf_normaliser_is_the_bessel_formula(k):
    # The oracle above is ₀F₁; this ties it to the definition of C_k(κ).
    for kappa in KAPPAS[1:]:
        x, nu = mp.mpf(kappa), mp.mpf(k) / 2 - 1
        want = nu * mp.log(x) - (nu + 1) * mp.log(2 * mp.pi) - mp.log(mp.besseli(nu, x))
        assert abs(exact_log_normaliser(kappa, k) - want) < mp.mpf(10) ** -35


@pytest.mark.parametrize("k", DIMENSIONS)
def test_vmf_entropy(k):
    want = [-kappa * exact_bessel_ratio(kappa, k) - exact_log_normaliser(kappa, k) for kappa in KAPPAS]
    scale = [kappa * exact_bessel_ratio(kappa, k) + area_scale(k) + log_0f1_scale(kappa, k) for kappa in KAPPAS]
    assert_within(2, ref.vmf_entropy(KAPPAS, k), want, scale)  # measured 1.40


@pytest.mark.parametrize("k", DIMENSIONS)
def test_vmf_kl(k):
    want = [kappa * exact_bessel_ratio(kappa, k) - exact_log_0f1(kappa, k) for kappa in KAPPAS]
    # For κ → 0 both terms are of the size of κ²/k, so that the bound is a relative one.
    scale = [kappa * exact_bessel_ratio(kappa, k) + log_0f1_scale(kappa, k) for kappa in KAPPAS]
    positive = slice(1, None)
    assert_within(2, ref.vmf_kl(KAPPAS, k)[positive], want[positive], scale[positive])  # measured 1.52
    assert ref.vmf_kl(0.0, k) == 0


@pytest.mark.parametrize("k", range(2, 65))
def test_uniform_sphere_entropy(k):
    assert_within(1, ref.uniform_sphere_entropy(k), exact_log_area(k), area_scale(k))  # measured 0.84


@pytest.mark.parametrize("k", DIMENSIONS)
def test_log_vmf(k):
    rng = np.random.default_rng(k)
    z, mu = on_sphere(rng, len(KAPPAS), k), on_sphere(rng, len(KAPPAS), k)
    z[::3] = mu[::3]
    ez, emu = exact(z), exact(mu)
    want = [kp * dot(a, b) + exact_log_normaliser(kp, k) for kp, a, b in zip(KAPPAS, ez, emu, strict=True)]
    scale = [
        kp * size(a, b) + area_scale(k) + log_0f1_scale(kp, k) for kp, a, b in zip(KAPPAS, ez, emu, strict=True)
    ]
    assert_within(2, ref.log_vmf(z, mu, KAPPAS), want, scale)  # measured 1.54


@pytest.mark.parametrize("k", [2, 4, 9, 64])
@pytest.mark.parametrize("p", [1, 2, 16])
def test_log_prior(k, p):
    rng = np.random.default_rng(100 * k + p)
    z, mu = on_sphere(rng, 6, k), on_sphere(rng, p, k)
    z[0] = mu[0]
    kappa = np.resize([1e4, 1e-8, 0.0, 100.0, 3.0], p)
    ez, emu = exact(z), exact(mu)
    normal = [exact_log_normaliser(kp, k) for kp in kappa]
    size_of = [area_scale(k) + log_0f1_scale(kp, k) for kp in kappa]
    want, scale = [], []
    for row in ez:
        exponent = [kp * dot(row, m) + c for kp, m, c in zip(kappa, emu, normal, strict=True)]
        want.append(mp.log(sum(mp.exp(e) for e in exponent) / p))
        # Each component moves the result by its share, at most by 1.
        share = [mp.exp(e) / sum(mp.exp(e) for e in exponent) for e in exponent]
        terms = [kp * size(row, m) + s for kp, m, s in zip(kappa, emu, size_of, strict=True)]
        scale.append(1 + dot(share, terms) + abs(want[-1]))
    assert_within(0.5, ref.log_prior(z, mu, kappa), want, scale)  # measured 0.34

    plain = [mp.log(sum(mp.exp(dot(row, m)) for m in emu) / p) for row in ez]
    scale = 1 + max(size(r, m) for r in ez for m in emu)
    assert_within(0.5, ref.log_prior(z, mu, convention=ORIGINAL), plain, scale)  # measured 0.33


# ── unit vectors, reflections, samples ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("factor", [1.0, 1e-150, 1e150, 1e-300, 1e300, 5e-324])
def test_normalize(factor):
    v = np.random.default_rng(1).standard_normal((8, 5)) * factor
    v = v[np.any(v != 0, axis=1)]
    assert_within(2, ref.normalize(v), unit(exact(v)), 1)  # measured 0.96


def test_normalize_with_epsilon():
    v = np.random.default_rng(1).standard_normal((8, 5)) * np.logspace(-12, 3, 8)[:, None]
    want = [[x / mp.sqrt(dot(row, row) + mp.mpf(EPS)) for x in row] for row in exact(v)]
    assert_within(1, ref.normalize(v, convention=ORIGINAL), want, 1)  # measured 0.51


def near_e1(k, distance, sign=1.0):
    """Unit vector at about `distance` from ±e1, rounded to float64."""
    side = np.arange(1.0, k)
    side *= distance / np.linalg.norm(side)
    return np.concatenate([[sign * np.sqrt(max(0.0, 1 - distance**2))], side])


DISTANCES = [0.0, 1e-300, 1e-170, *(10.0**-e for e in range(16, 0, -1)), 0.9]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("k", [2, 3, 9])
@pytest.mark.parametrize("distance", DISTANCES)
def test_householder(k, distance, sign):
    mu = near_e1(k, distance, sign)
    z = np.concatenate([np.eye(k), on_sphere(np.random.default_rng(k), 4, k)])
    # The reflection that takes e1 to the direction of mu: with the component of e1 − mu along e1 free of
    # cancellation, since |mu| = 1 only to rounding.
    m = unit(exact(mu))[0]
    r = [(1 - m[0]) if m[0] <= 0 else dot(m[1:], m[1:]) / (1 + m[0]), *(-v for v in m[1:])]
    length = dot(r, r)
    pull = [2 * dot(row, r) / length if length else 0 for row in exact(z)]
    want = [[a - p * b for a, b in zip(row, r, strict=True)] for row, p in zip(exact(z), pull, strict=True)]
    assert_within(4, ref.householder(z, np.broadcast_to(mu, z.shape)), want, 1)  # measured 3.13


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("distance", DISTANCES)
def test_tangent_frame_is_orthonormal_and_tangent(distance, sign):
    mu = near_e1(5, distance, sign)
    frame = ref.tangent_frame(mu[None])[0]
    columns = exact(np.column_stack([mu, frame])).T
    gram = [[dot(a, b) for a in columns] for b in columns]
    assert_within(3, np.eye(5), gram, 1)  # measured 2.01


@pytest.mark.parametrize("k", [2, 3, 9, 64])
@pytest.mark.parametrize("kappa", [0.0, 1e-8, 1.0, 100.0, 1e4, 1e8])
def test_sample_vmf(k, kappa):
    rng = np.random.default_rng(k)
    mu, v = on_sphere(rng, 5, k), rng.standard_normal((5, k - 1))
    epsilon = np.array([1e-12, 0.1, 0.5, 0.9, 1 - 1e-12])
    got = ref.sample_vmf(mu, np.full(5, kappa), epsilon, v)
    b = (mp.sqrt(4 * mp.mpf(kappa) ** 2 + (k - 1) ** 2) - 2 * mp.mpf(kappa)) / (k - 1)
    want, scale = [], []
    for m, e, side in zip(unit(exact(mu)), exact(epsilon), unit(exact(v)), strict=True):
        w = (1 - (1 + b) * e) / (1 - (1 - b) * e)
        ring = mp.sqrt(1 - w * w)
        z = [w, *(ring * s for s in side)]
        r = [1 - m[0], *(-x for x in m[1:])]
        want.append([a - 2 * dot(z, r) / dot(r, r) * c for a, c in zip(z, r, strict=True)])
        # √(1−w²) amplifies the rounding of w by w/√(1−w²), and 1 − (1−b)ε that of ε by 1/(1 − (1−b)ε).
        slope = 2 * b * e / (1 - (1 - b) * e) ** 2 + 1
        scale.append([1 + slope * (1 + abs(w) / ring)] * k)
    assert_within(6, got, want, np.ravel(np.array(scale, object)))  # measured 4.45


# ── likelihoods ──────────────────────────────────────────────────────────────────────────────────────────


def exact_log_likelihood(x, x_hat, variance):
    terms = [(a - b) ** 2 / (2 * s) for a, b, s in zip(x, x_hat, variance, strict=True)]
    logs = [mp.log(2 * mp.pi * s) / 2 for s in variance]
    return -sum(terms) - sum(logs), sum(terms) + sum(abs(mp.log(s)) + mp.log(2 * mp.pi) for s in variance)


@pytest.mark.parametrize("d", [1, 3, 30])
@pytest.mark.parametrize("sigma2", [1e-300, 1e-12, 1e-3, 1.0, 7.0, 1e12, 1e300, "per feature"])
def test_log_likelihood(d, sigma2):
    rng = np.random.default_rng(d)
    x = rng.standard_normal((5, d))
    x_hat = x + rng.standard_normal((5, d)) * np.array([0, 1e-12, 1e-3, 1, 1e3])[:, None]
    variance = 10.0 ** rng.uniform(-8, 8, d) if sigma2 == "per feature" else np.full(d, sigma2)
    pairs = zip(exact(x), exact(x_hat), strict=True)
    want, scale = zip(*(exact_log_likelihood(a, b, exact(variance)) for a, b in pairs), strict=True)
    got = ref.log_likelihood(x, x_hat, variance if sigma2 == "per feature" else sigma2)
    assert_within(2, got, want, scale)  # measured 0.99


@pytest.mark.parametrize("k", [2, 9])
@pytest.mark.parametrize("spread", [0.1, 30.0, 1e4])
def test_log_importance(k, spread):
    rng = np.random.default_rng(k)
    likelihood = -spread * rng.random((4, 20)) - 1e3
    prior, cosine = rng.standard_normal((4, 20)), rng.uniform(-1, 1, (4, 20))
    kappa = np.array([0.0, 1e-8, 50.0, 1e4])
    want, scale = [], []
    for a, p, t, kp in zip(exact(likelihood), exact(prior), exact(cosine), kappa, strict=True):
        c = exact_log_normaliser(kp, k)
        terms = [x + y - kp * z - c for x, y, z in zip(a, p, t, strict=True)]
        total = sum(mp.exp(v) for v in terms)
        want.append(mp.log(total / 20))
        sizes = [abs(x) + abs(y) + kp * abs(z) for x, y, z in zip(a, p, t, strict=True)]
        share = [mp.exp(v) / total for v in terms]
        scale.append(1 + area_scale(k) + log_0f1_scale(kp, k) + dot(share, sizes))
    got = ref.log_importance(likelihood, prior, cosine, kappa, k)
    assert_within(1, got, want, scale)  # measured 0.65


def gaussian_log_density(z, covariance):
    inverse, k = mp.inverse(covariance), len(z)
    v = mp.matrix(list(z))
    return -(v.T * inverse * v)[0] / 2 - mp.log(mp.det(covariance)) / 2 - mp.mpf(k) / 2 * mp.log(2 * mp.pi)


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("sigma2", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(("d", "k"), [(3, 3), (6, 2), (12, 5)])
def test_log_density_corrected(d, k, sigma2, condition):
    rng = np.random.default_rng(d)
    j, z = with_condition(rng, d, k, condition), rng.standard_normal(k)
    x, x_hat = rng.standard_normal(d), rng.standard_normal(d)
    jacobian = mp.matrix([[mp.mpf(float(v)) for v in row] for row in j])
    gram = jacobian.T * jacobian
    covariance = mp.eye(k) + mp.mpf(sigma2) * mp.inverse(gram)
    error = [a - b for a, b in zip(exact(x), exact(x_hat), strict=True)]
    noise = -dot(error, error) / (2 * mp.mpf(sigma2)) - mp.mpf(d - k) / 2 * mp.log(2 * mp.pi * mp.mpf(sigma2))
    want = gaussian_log_density(exact(z), covariance) + (noise if d > k else 0) - mp.log(mp.det(gram)) / 2
    got = ref.log_density_corrected(x[None], x_hat[None], z[None], j[None], sigma2=sigma2)
    s = exact_singular_values(j)
    # Of the eigenvalues 1 + σ²/s² and of the volume, each with the relative error eps·s_1/s of s.
    scale = sum(s[0] / v * (4 + dot(exact(z), exact(z))) + abs(mp.log(v)) for v in s)
    scale += abs(noise) + mp.mpf(d) * (abs(mp.log(sigma2)) + 2)
    assert_within(2, got, [want], scale)  # measured 1.07


@pytest.mark.parametrize("condition", [1.0, 1e6, 1e12])
@pytest.mark.parametrize("m", [1, 2, 8])
def test_log_laplace(m, condition):
    rng = np.random.default_rng(m)
    q, _ = np.linalg.qr(rng.standard_normal((m, m)))
    h = (q * np.logspace(0, np.log10(condition), m)) @ q.T
    h = (h + h.T) / 2
    values = sorted(mp.eigsy(mp.matrix(h.tolist()), eigvals_only=True))
    want = -3 + mp.mpf(m) / 2 * mp.log(2 * mp.pi) - sum(mp.log(v) for v in values) / 2
    scale = 3 + 2 * m + sum(values[-1] / v + abs(mp.log(v)) for v in values)
    assert_within(0.25, ref.log_laplace([-3.0], h[None]), [want], scale)  # measured 0.14


# ── maximum mean discrepancy ─────────────────────────────────────────────────────────────────────────────


def exact_mmd(x, y, c, diagonal):
    """MMD and its scale: each kernel value k moves by k²/c times the rounding of 1 − x·y."""

    def mean(a, b, within):
        total, scale, pairs = mp.mpf(0), mp.mpf(0), 0
        for i, u in enumerate(a):
            for j, v in enumerate(b):
                pairs += not (within and i == j)
                if within and i == j and not diagonal:
                    continue
                k = c / (c + max(mp.mpf(0), 1 - dot(u, v)))
                total, scale = total + k, scale + k + k * k / c * (1 + size(u, v))
        return total / pairs, scale / pairs

    (xx, sx), (yy, sy), (xy, sxy) = mean(x, x, True), mean(y, y, True), mean(x, y, False)
    return xx + yy - 2 * xy, sx + sy + 2 * sxy


@pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=lambda c: c.name)
@pytest.mark.parametrize("points", ["apart", "coinciding", "all one point"])
@pytest.mark.parametrize("c", [1e-10, 1e-6, 1e-3, 0.1, 1.0, 100.0])
def test_mmd_imq(c, points, convention):
    rng = np.random.default_rng(5)
    x, y = on_sphere(rng, 7, 3), on_sphere(rng, 5, 3)
    if points == "coinciding":
        x[3:5], y[:2] = x[0], x[0]
    if points == "all one point":
        x[:], y[:] = x[0], x[0]
    want, scale = exact_mmd(exact(x), exact(y), mp.mpf(c), convention.mmd_diagonal == "kept")
    assert_within(0.5, ref.mmd_imq(x, y, c, convention=convention), want, scale)  # measured 0.36


def distinct(m, order):
    return itertools.permutations(range(m), order)


def brute_force_variance(xx, xy, yy, swapped):
    """4(m−2)/(m(m−1)) ζ₁ + 2/(m(m−1)) ζ₂ (Sutherland 2017), each moment as a mean over distinct indices."""
    m = len(xx)

    def mean(values):
        values = list(values)
        return sum(values) / len(values)

    e_xx, e_yy = mean(xx[i][j] for i, j in distinct(m, 2)), mean(yy[i][j] for i, j in distinct(m, 2))
    e_xy = mean(xy[i][j] for i in range(m) for j in range(m))
    shared_xx = mean(xx[i][j] * xx[i][k] for i, j, k in distinct(m, 3)) - e_xx**2
    shared_yy = mean(yy[i][j] * yy[i][k] for i, j, k in distinct(m, 3)) - e_yy**2
    shared_x = mean(xy[i][j] * xy[i][k] for i in range(m) for j, k in distinct(m, 2)) - e_xy**2
    shared_y = mean(xy[j][i] * xy[k][i] for i in range(m) for j, k in distinct(m, 2)) - e_xy**2
    at = (lambda i, k: xy[k][i]) if swapped else (lambda i, k: xy[i][k])
    both_x = mean(xx[i][j] * at(i, k) for i, j in distinct(m, 2) for k in range(m)) - e_xx * e_xy
    both_y = mean(yy[i][j] * at(k, i) for i, j in distinct(m, 2) for k in range(m)) - e_yy * e_xy
    zeta1 = shared_xx + shared_yy + shared_x + shared_y - 2 * both_x - 2 * both_y
    zeta2 = (
        mean(xx[i][j] ** 2 for i, j in distinct(m, 2)) - e_xx**2
        + mean(yy[i][j] ** 2 for i, j in distinct(m, 2)) - e_yy**2
        + 2 * (mean(v * v for row in xy for v in row) - e_xy**2)
        - 4 * both_x - 4 * both_y
    )  # fmt: skip
    statistic = e_xx + e_yy - 2 * e_xy
    return statistic, (4 * (m - 2) * zeta1 + 2 * zeta2) / (m * (m - 1))


@pytest.mark.parametrize("m", [4, 5, 8])
@pytest.mark.parametrize("convention", [EXACT, EXACT.switched("mmd_variance")], ids=lambda c: c.mmd_variance)
def test_mmd_variance(m, convention):
    rng = np.random.default_rng(m)
    x, y = rng.standard_normal((m, 2)), 0.5 + rng.standard_normal((m, 2))
    kernels = [np.exp(-((a[:, None] - b) ** 2).sum(2)) for a, b in ((x, x), (x, y), (y, y))]
    want = brute_force_variance(*map(exact, kernels), convention.mmd_variance == "swapped")
    got = ref.mmd_variance(*kernels, convention=convention)
    # Every term of the variance is a mean of products of two kernel values below 1, times at most 8/m.
    assert_within(0.25, got, want, [4, mp.mpf(8) / m])  # measured 0.13


def test_mmd_variance_swapped_differs():
    rng = np.random.default_rng(0)
    k_xy = rng.random((6, 6))
    k_xx, k_yy = (0.5 * (a + a.T) for a in (rng.random((6, 6)), rng.random((6, 6))))
    straight = ref.mmd_variance(k_xx, k_xy, k_yy)
    swapped = ref.mmd_variance(k_xx, k_xy, k_yy, convention=ORIGINAL)
    assert swapped[0] == straight[0]
    assert abs(swapped[1] - straight[1]) > 1e-4
    # Exchanging the samples' roles in K_xy is what "swapped" does to the cross terms only.
    assert ref.mmd_variance(k_xx, k_xy.T, k_yy)[1] == pytest.approx(swapped[1], rel=1e-12)


# ── area under the ROC curve ─────────────────────────────────────────────────────────────────────────────


def counted_auc(scores, labels):
    anomalies, normals = ([s for s, one in zip(scores, labels, strict=True) if one == y] for y in (1, 0))
    pairs = list(itertools.product(anomalies, normals))
    return float(Fraction(sum(2 * (a > b) + (a == b) for a, b in pairs), 2 * len(pairs)))


@pytest.mark.parametrize("levels", [1, 2, 3, 10, 10**6])
@pytest.mark.parametrize("n", [2, 3, 17, 60])
def test_roc_auc_counts_pairs(n, levels):
    rng = np.random.default_rng(n)
    for _ in range(5):
        scores = rng.integers(levels, size=n) / 7
        labels = rng.integers(2, size=n)
        labels[:2] = 0, 1
        assert ref.roc_auc(scores, labels) == counted_auc(scores, labels)


@pytest.mark.parametrize(
    ("scores", "labels", "auc"),
    [
        ([-np.inf, 0.0, np.inf], [0, 1, 1], 1.0),
        ([np.inf, np.inf], [0, 1], 0.5),
        ([0.0, -0.0], [0, 1], 0.5),
        ([5e-324, 0.0], [0, 1], 0.0),
        ([1.0, 1.0 + EPS], [False, True], 1.0),
    ],
)
def test_roc_auc_of_special_values(scores, labels, auc):
    assert ref.roc_auc(scores, labels) == auc
