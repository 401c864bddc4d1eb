"""Properties that hold whatever the numbers are, on stated domains; bounds are k·eps·scale as in closeness.py."""

import functools
import itertools

import numpy as np
import pandas as pd
import pytest
from closeness import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from pyscore import reference as ref
from pyscore.backends import _iterations, get_backend
from pyscore.convention import EXACT, ORIGINAL
from pyscore.reference import network, sampling
from pyscore.reference.minimise import levenberg_marquardt, tangent_basis
from pyscore.reference.model import SVAE
from pyscore.reference.network import ACTIVATIONS, Dense
from pyscore.scoring import scores

settings.register_profile("properties", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("properties")

EPS = float(np.finfo(np.float64).eps)
CONVENTIONS = pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=lambda c: c.name)

seeds = st.integers(0, 2**32 - 1)
dimensions = st.integers(2, 12)
counts = st.integers(2, 20)


def rng_of(seed):
    return np.random.default_rng(seed)


def on_sphere(rng, n, k):
    z = rng.standard_normal((n, k))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def rotation(rng, k):
    """Orthogonal k×k matrix, to rounding."""
    q, r = np.linalg.qr(rng.standard_normal((k, k)))
    return q * np.sign(np.diag(r))


def mixture(seed, k, p, n):
    """Codes z (n, k) and prior components mu (p, k), kappa (p,) with kappa from 0 to 100, the model's range."""
    rng = rng_of(seed)
    return on_sphere(rng, n, k), on_sphere(rng, p, k), 100 * rng.random(p)


# ── rotations and permutations ───────────────────────────────────────────────────────────────────────────


@CONVENTIONS
@given(seed=seeds, k=dimensions, p=st.integers(1, 16))
def test_prior_is_invariant_to_rotation(seed, k, p, convention):
    z, mu, kappa = mixture(seed, k, p, 5)
    q = rotation(rng_of(seed + 1), k)
    got = ref.log_prior(z @ q, mu @ q, kappa, convention=convention)
    want = ref.log_prior(z, mu, kappa, convention=convention)
    # Each exponent κ z·mu is a sum of k products in two rotated bases, with |terms| up to κ·k.
    assert_close(got, want, k=2, scale=k * (1 + kappa.max()))


@CONVENTIONS
@given(seed=seeds, k=dimensions, n=counts, m=counts, c=st.floats(1e-3, 100))
def test_mmd_is_invariant_to_rotation_and_order_and_symmetric(seed, k, n, m, c, convention):
    rng = rng_of(seed)
    x, y, q = on_sphere(rng, n, k), on_sphere(rng, m, k), rotation(rng, k)
    value = ref.mmd_imq(x, y, c, convention=convention)
    scale = k * (1 + 1 / c)  # dk/dd is at most 1/c, and 1 − x·y has terms of size 1
    assert_close(ref.mmd_imq(x @ q, y @ q, c, convention=convention), value, k=8, scale=scale)
    shuffled = ref.mmd_imq(rng.permutation(x), rng.permutation(y), c, convention=convention)
    assert_close(shuffled, value, k=8, scale=scale)
    assert_close(ref.mmd_imq(y, x, c, convention=convention), value, k=8, scale=scale)


@CONVENTIONS
@given(seed=seeds, k=dimensions, p=st.integers(1, 16))
def test_prior_does_not_depend_on_the_order_of_components_or_rows(seed, k, p, convention):
    z, mu, kappa = mixture(seed, k, p, 6)
    rows, parts = rng_of(seed).permutation(6), rng_of(seed).permutation(p)
    want = ref.log_prior(z, mu, kappa, convention=convention)[rows]
    got = ref.log_prior(z[rows], mu[parts], kappa[parts], convention=convention)
    assert_close(got, want, k=2, scale=k * (1 + kappa.max()))


@given(seed=seeds, k=dimensions, copies=st.integers(2, 5))
def test_prior_of_repeated_components_is_that_of_one(seed, k, copies):
    z, mu, kappa = mixture(seed, k, 3, 4)
    got = ref.log_prior(z, np.tile(mu, (copies, 1)), np.tile(kappa, copies))
    assert_close(got, ref.log_prior(z, mu, kappa), k=2, scale=k * (1 + kappa.max()))


# ── volumes ──────────────────────────────────────────────────────────────────────────────────────────────


def jacobian_of(seed, d, k, spread):
    """d×k matrix with singular values between 1 and 10^−spread."""
    rng = rng_of(seed)
    u, _ = np.linalg.qr(rng.standard_normal((max(d, k), min(d, k))))
    j = (u * 10.0 ** -np.linspace(0, spread, min(d, k))) @ rotation(rng, min(d, k)).T
    return j if d >= k else j.T


spreads = st.floats(0, 10)


@given(seed=seeds, d=dimensions, k=dimensions, spread=spreads, log_c=st.floats(-20, 20))
def test_volume_of_a_multiple(seed, d, k, spread, log_c):
    j = jacobian_of(seed, d, k, spread)[None]
    m, c = min(d, k), np.exp(log_c)
    scale = m * 10**spread + m * abs(log_c)  # eps·cond for each singular value
    assert_close(ref.log_volume(c * j), ref.log_volume(j) + m * np.log(c), k=4, scale=scale)


@given(seed=seeds, d=dimensions, k=dimensions, spread=spreads)
def test_volume_is_invariant_to_orthogonal_maps_and_transposition(seed, d, k, spread):
    j = jacobian_of(seed, d, k, spread)
    q, p = rotation(rng_of(seed + 1), d), rotation(rng_of(seed + 2), k)
    want = ref.log_volume(j[None])
    scale = min(d, k) * 10**spread
    assert_close(ref.log_volume((q @ j @ p)[None]), want, k=8, scale=scale)
    assert_close(ref.log_volume(j.T[None]), want, k=4, scale=scale)


@given(seed=seeds, d=dimensions, k=dimensions, spread=spreads)
def test_volume_by_qr_equals_that_by_svd(seed, d, k, spread):
    j = jacobian_of(seed, d, k, spread)
    tall = j if d >= k else j.T
    by_qr = np.sum(np.log(np.abs(np.diag(np.linalg.qr(tall, mode="r")))))
    scale = min(d, k) * 10**spread
    assert_close(ref.log_volume(j[None]), np.array([by_qr]), k=8, scale=scale)
    assert_close(
        get_backend("torch", dtype=np.float64).log_volume(j[None]), ref.log_volume(j[None]), k=8, scale=scale
    )


@given(seed=seeds, d=st.integers(3, 12), k=st.integers(2, 9), spread=st.floats(0, 5))
def test_tangent_and_ambient_volumes(seed, d, k, spread):
    # log det(TᵀGT) = log det G + log(zᵀG⁻¹z), G = JᵀJ: the radial direction's share of the volume.
    d = max(d, k)
    j, z = jacobian_of(seed, d, k, spread), on_sphere(rng_of(seed + 1), 1, k)
    tangent = ref.log_volume(j[None] @ ref.tangent_frame(z))
    r = np.linalg.qr(j, mode="r")
    radial = np.log(np.linalg.norm(np.linalg.solve(r.T, z[0])))  # ½ log zᵀG⁻¹z with G = RᵀR
    assert_close(tangent, ref.log_volume(j[None]) + radial, k=16, scale=k * 10**spread)


@given(seed=seeds, k=st.integers(2, 9))
def test_any_tangent_basis_gives_the_same_volume(seed, k):
    rng = rng_of(seed)
    j, z = rng.standard_normal((1, 12, k)), on_sphere(rng, 1, k)
    frame = ref.tangent_frame(z)
    other = frame @ rotation(rng, k - 1)
    condition = np.linalg.cond((j @ frame)[0])
    assert_close(ref.log_volume(j @ other), ref.log_volume(j @ frame), k=8, scale=k * condition)


# ── a linear decoder has closed forms ────────────────────────────────────────────────────────────────────


def affine_model(seed, d, k, h, p=3):
    model = SVAE.initialise(d, k, h, p, activation="identity", seed=seed, dtype=np.float64)
    rng = rng_of(seed)
    shifted = {n: v + 0.1 * rng.standard_normal(v.shape) for n, v in model.parameters().items()}
    return SVAE.from_parameters(shifted, "identity")


def product(model):
    w = np.eye(model.latent_dim)
    for layer in model.decoder:
        w = layer.weight @ w
    return w


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@given(seed=st.integers(0, 10**6), d=st.integers(3, 10), k=st.integers(2, 5), h=st.integers(6, 12))
def test_linear_decoder(seed, d, k, h, backend):
    model, engine = affine_model(seed, max(d, k), k, h), get_backend(backend, dtype=np.float64)
    z, w = on_sphere(rng_of(seed), 4, k), product(model)
    s = np.linalg.svd(w, compute_uv=False)
    # Each of the four factors loses eps·|W_i|; their norms are below 4 here.
    scale = k * h * 4**4 / s[-1]
    ambient = engine.decoder_log_volume(model, z, convention=EXACT.switched("jacobian"))
    assert_close(ambient, np.full(4, np.log(s).sum()), k=1, scale=scale)
    gram = w.T @ w
    radial = 0.5 * np.log(np.einsum("ni,ij,nj->n", z, np.linalg.inv(gram), z))
    tangent = engine.decoder_log_volume(model, z, convention=EXACT)
    assert_close(tangent, np.log(s).sum() + radial, k=1, scale=scale * s[0] / s[-1])
    affine = z @ w.T + model.decode(np.zeros((1, k)))
    assert_close(model.decode(z), affine, k=1, scale=h * 4**4)


# ── a row's score does not depend on its neighbours ──────────────────────────────────────────────────────


@functools.cache
def small_model(activation="swish", seed=1):
    model = SVAE.initialise(5, 3, 8, 4, activation=activation, seed=seed, dtype=np.float64)
    rng = rng_of(seed)
    bent = {n: v + 0.3 * rng.standard_normal(v.shape) for n, v in model.parameters().items()}
    return SVAE.from_parameters(bent, activation)


@CONVENTIONS
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_batch_independence(backend, convention):
    engine = get_backend(backend, dtype=np.float64)
    x = rng_of(3).standard_normal((9, 5))
    names = [n for n in scores.available_scores(convention) if n != "importance"]
    if convention == ORIGINAL:
        # The encoder's volume is rounding noise (Q3), and the original's projection is of a mean over rows:
        # ADAM's 1e-8 makes it depend on their number.
        names = [n for n in names if "encoder" not in n and n != "projected"]

    def table(rows):
        return scores.score_table(small_model(), rows, names, convention=convention, backend=engine)

    together, apart = table(x), pd.concat([table(x[i : i + 1]) for i in range(9)])
    for name in names:
        # BLAS orders its sums by the shape of the batch, so equality is to rounding, of sums of terms of size 50;
        # a minimum is found to about 1e-14 of its curvature.
        k = 200 if name in ("projected", "corrected", "laplace") else 4
        assert_close(apart[name].to_numpy(), together[name].to_numpy(), k=k, scale=50, what=name)


def test_batch_independence_of_the_array_functions_to_the_bit():
    # Functions without a matrix product treat each row by itself: equality is exact.
    rng = rng_of(0)
    z, mu, kappa = on_sphere(rng, 7, 4), on_sphere(rng, 7, 4), 100 * rng.random(7)
    v, epsilon, j = rng.standard_normal((7, 3)), rng.random(7), rng.standard_normal((7, 6, 4))
    table = {
        "normalize": (ref.normalize, (3 * z,)),
        "householder": (ref.householder, (z, mu)),
        "tangent_frame": (ref.tangent_frame, (z,)),
        "log_vmf": (ref.log_vmf, (z, mu, kappa)),
        "log_likelihood": (ref.log_likelihood, (z, mu)),
        "latent_error": (ref.latent_error, (z, mu)),
        "sample_vmf": (ref.sample_vmf, (mu, kappa, epsilon, v)),
        "log_volume": (ref.log_volume, (j,)),
    }
    for name, (function, arguments) in table.items():
        rows = [function(*(a[i : i + 1] for a in arguments))[0] for i in range(7)]
        np.testing.assert_array_equal(np.array(rows), function(*arguments), err_msg=name)


def test_importance_draws_belong_to_the_row():
    x = rng_of(4).standard_normal((6, 5))
    whole = scores.score(small_model(), x, "importance", seed=2, backend="numpy")
    part = scores.score(small_model(), x[3::-1], "importance", seed=2, backend="numpy")
    assert_close(part, whole[3::-1], k=100, scale=50)
    assert np.all(scores.score(small_model(), x, "importance", seed=3, backend="numpy") != whole)


# ── rankings ─────────────────────────────────────────────────────────────────────────────────────────────


@given(
    values=st.lists(st.integers(-1000, 1000), min_size=2, max_size=40),
    seed=seeds,
    monotone=st.sampled_from([lambda v: v / 8, lambda v: np.exp(v / 100), lambda v: v * v * v, np.arctan]),
)
def test_auc_is_invariant_to_monotone_maps(values, seed, monotone):
    values = np.array(values)
    labels = rng_of(seed).integers(2, size=values.size)
    labels[:2] = 0, 1
    auc = ref.roc_auc(values, labels)
    assert ref.roc_auc(monotone(values), labels) == auc
    assert ref.roc_auc(-values, labels) == pytest.approx(1 - auc, abs=2 * EPS)
    order = rng_of(seed).permutation(values.size)
    assert ref.roc_auc(values[order], labels[order]) == auc


# ── von Mises-Fisher ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kappa", [0.0, 1e-8, 0.5, 3.0, 30.0, 100.0])
@pytest.mark.parametrize("k", [2, 3])
def test_vmf_density_integrates_to_one(k, kappa):
    if k == 2:  # the trapezoid rule on a periodic analytic function converges exponentially
        angle = 2 * np.pi * np.arange(400) / 400
        z, weight = np.column_stack([np.cos(angle), np.sin(angle)]), np.full(400, 2 * np.pi / 400)
        mu = np.array([np.cos(1.0), np.sin(1.0)])
    else:  # Gauss-Legendre in the cosine, a trapezoid around the axis
        t, w = np.polynomial.legendre.leggauss(120)
        angle = 2 * np.pi * np.arange(120) / 120
        ring = np.sqrt(1 - t**2)
        z = np.stack([np.outer(ring, np.cos(angle)), np.outer(ring, np.sin(angle)), np.outer(t, np.ones(120))], -1)
        z, weight = z.reshape(-1, 3), np.repeat(w, 120) * 2 * np.pi / 120
        mu = on_sphere(rng_of(5), 1, 3)[0]
    density = np.exp(ref.log_vmf(z, np.broadcast_to(mu, z.shape), np.full(len(z), kappa)))
    # exp turns the absolute error eps·κ of the logarithm into a relative one.
    assert_close(weight @ density, 1.0, k=20, scale=1 + kappa)
    entropy = -weight @ (density * ref.log_vmf(z, np.broadcast_to(mu, z.shape), np.full(len(z), kappa)))
    assert_close(entropy, ref.vmf_entropy(kappa, k), k=40, scale=1 + kappa)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 5.0, 50.0, 100.0])
@pytest.mark.parametrize("k", [2, 3, 4, 9, 64])
def test_sampler_moments(k, kappa):
    # 20,000 draws; t statistics below 5 fail falsely once in 1.7 million (two-sided normal), in 50 tests of seeded
    # draws once in 35,000, when the seed is changed.
    n, mu = 20_000, on_sphere(rng_of(k), 1, k)
    kappas = np.full(n, kappa)
    draws = sampling.draw_vmf(kappas, k, sampling.generator(11, "importance", k))
    z = ref.sample_vmf(np.repeat(mu, n, axis=0), kappas, *draws)
    assert_close(np.sum(z * z, axis=1), np.ones(n), k=16)
    t = z @ mu[0]
    a = float(ref.special.bessel_ratio(np.array(kappa), k))
    variance = 1 - a * a - (k - 1) * (a / kappa if kappa else 1 / k)
    assert abs(t.mean() - a) < 5 * np.sqrt(variance / n)
    spread = np.std((t - a) ** 2) / np.sqrt(n)
    assert abs(np.mean((t - a) ** 2) - variance) < 5 * spread
    # Around mu all directions are alike: the mean of the rest is zero, each with variance (1 − E t²)/(k−1).
    rest = z - t[:, None] * mu
    each = (1 - a * a - variance) / (k - 1)
    assert np.linalg.norm(rest.mean(axis=0)) < np.sqrt(each * (k - 1 + 10 * np.sqrt(2 * (k - 1)) + 50) / n)


def test_a_wrong_concentration_would_be_seen():
    n, k = 20_000, 4
    draws = sampling.draw_vmf(np.full(n, 5.5), k, sampling.generator(11, "importance", k))
    t = ref.sample_vmf(np.tile(np.eye(1, k), (n, 1)), np.full(n, 5.5), *draws)[:, 0]
    a = float(ref.special.bessel_ratio(np.array(5.0), k))
    assert abs(t.mean() - a) > 5 * t.std() / np.sqrt(n)


# ── derivatives ──────────────────────────────────────────────────────────────────────────────────────────


def central(function, a, h):
    """Derivatives of `function` (m,) by central differences of fourth order: (m, inputs)."""
    columns = []
    for step in h * np.eye(a.size):
        near = function(a + step) - function(a - step)
        far = function(a + 2 * step) - function(a - 2 * step)
        columns.append((8 * near - far) / (12 * h))
    return np.stack(columns, axis=-1)


# Complex steps for what is analytic: f'(a) = Im f(a + ih)/h to the last bit, without a difference.
COMPLEX = {
    "swish": lambda a: a / (1 + np.exp(-a)),
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "softplus": lambda a: np.log1p(np.exp(a)),
    "gelu": lambda a: a * special.erfc(-a / np.sqrt(2)) / 2,
    "identity": lambda a: a,
}
POINTS = np.concatenate([np.linspace(-6, 6, 49), [-30.0, -1e-3, 1e-3, 30.0]])


@pytest.mark.parametrize("name", COMPLEX)
def test_activation_derivatives_by_complex_step(name):
    h, act = 1e-30, ACTIVATIONS[name]
    value = COMPLEX[name](POINTS + 1j * h)
    size = 1 + np.abs(POINTS)
    assert_close(act.value(POINTS), value.real, k=4, scale=size, what="value")
    assert_close(act.first(POINTS), value.imag / h, k=8, scale=size, what="first")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_derivatives_by_differences(name):
    act, h = ACTIVATIONS[name], 1e-3
    points = POINTS[np.abs(POINTS) > 1e-2]  # away from the kinks
    # Truncation h⁴·f⁽⁵⁾/30, rounding eps·|f|/h.
    bound = 1e-11
    for low, high in ((act.value, act.first), (act.first, act.second)):
        want = (8 * (low(points + h) - low(points - h)) - (low(points + 2 * h) - low(points - 2 * h))) / (12 * h)
        np.testing.assert_allclose(high(points), want, rtol=0, atol=bound * (1 + np.abs(points).max() / 10))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_finite_far_out_and_take_the_left_derivative_at_a_kink(name):
    act = ACTIVATIONS[name]
    far = np.array([-1e15, -800.0, 0.0, 800.0, 1e15])
    with np.errstate(over="ignore"):
        for function in act:
            assert np.isfinite(function(far)).all()
    left = {"relu": 0.0, "leaky_relu": 0.01}
    if name in left:
        assert act.first(np.zeros(1)) == left[name]


def random_layers(rng, sizes):
    return [
        Dense(rng.standard_normal((b, a)) / np.sqrt(a), 0.3 * rng.standard_normal(b))
        for a, b in itertools.pairwise(sizes)
    ]


@pytest.mark.parametrize("last_active", [False, True])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mlp_jacobian(name, last_active):
    rng = rng_of(8)
    layers, a = random_layers(rng, [3, 7, 6, 4]), rng.standard_normal((5, 3))
    value, jacobian = network.mlp_jacobian(a, layers, name, last_active=last_active)
    np.testing.assert_array_equal(value, network.mlp(a, layers, name, last_active=last_active))

    def one(row):
        return network.mlp(row[None], layers, name, last_active=last_active)[0]

    want = np.stack([central(one, row, 1e-3) for row in a])
    np.testing.assert_allclose(jacobian, want, rtol=0, atol=2e-10)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mlp_hessian(name):
    rng = rng_of(9)
    layers, a, weights = random_layers(rng, [3, 7, 6, 4]), rng.standard_normal((5, 3)), rng.standard_normal((5, 4))
    hessian = network.mlp_hessian(a, layers, name, weights)
    np.testing.assert_allclose(hessian, np.swapaxes(hessian, 1, 2), rtol=0, atol=1e-13)

    def gradient(row, w):
        return w @ network.mlp_jacobian(row[None], layers, name)[1][0]

    want = np.stack([central(lambda r, w=w: gradient(r, w), row, 1e-3) for row, w in zip(a, weights, strict=True)])
    np.testing.assert_allclose(hessian, want, rtol=0, atol=1e-9)


@pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=lambda c: c.name)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_encoder_jacobian(name, convention):
    model, x = small_model(name), rng_of(2).standard_normal((4, 5))
    jacobian = model.encoder_jacobian(x, convention=convention)

    def mu(row):
        return model.encode(row[None], convention=convention)[0][0]

    want = np.stack([central(mu, row, 1e-3) for row in x])
    np.testing.assert_allclose(jacobian, want, rtol=0, atol=1e-8)
    if convention == EXACT:  # codes stay on the sphere
        radial = np.einsum("nk,nkd->nd", model.encode(x)[0], jacobian)
        np.testing.assert_allclose(radial, 0, atol=1e-14 * np.abs(jacobian).max())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_decoder_jacobian(name):
    model, z = small_model(name), on_sphere(rng_of(2), 4, 3)
    want = np.stack([central(lambda r: model.decode(r[None])[0], row, 1e-3) for row in z])
    np.testing.assert_allclose(model.decoder_jacobian(z), want, rtol=0, atol=1e-9)
    along = np.einsum("ndk,nkm->ndm", want, ref.tangent_frame(z))
    np.testing.assert_allclose(model.decoder_jacobian(z, tangent=True), along, rtol=0, atol=1e-9)


@pytest.mark.parametrize("convention", [EXACT, EXACT.switched("prior_density")], ids=lambda c: c.prior_density)
def test_prior_derivatives(convention):
    model = small_model()
    components, z = model.encode_pseudo_inputs(), on_sphere(rng_of(2), 5, 3)
    log_pz, gradient, hessian = ref.log_prior_derivatives(z, *components, convention=convention)
    np.testing.assert_array_equal(log_pz, ref.log_prior(z, *components, convention=convention))

    def value(row):
        return ref.log_prior(row[None], *components, convention=convention)

    want = np.stack([central(value, row, 1e-3)[0] for row in z])
    np.testing.assert_allclose(gradient, want, rtol=0, atol=1e-7)

    def slope(row):
        return ref.log_prior_derivatives(row[None], *components, convention=convention)[1][0]

    np.testing.assert_allclose(hessian, [central(slope, row, 1e-3) for row in z], rtol=0, atol=1e-5)


# ── Laplace ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("convention", [EXACT, EXACT.switched("prior_density")], ids=lambda c: c.prior_density)
@pytest.mark.parametrize("activation", ["swish", "tanh", "identity"])
def test_riemannian_hessian_of_laplace(monkeypatch, activation, convention):
    """Differences of −log p(x, z) along geodesics at the mode: no slope, and the Hessian that Laplace uses."""
    model, x = small_model(activation), rng_of(6).standard_normal((5, 5))
    caught = {}

    def spy(log_joint, hessian):
        caught.update(log_joint=log_joint, hessian=hessian)
        return ref_laplace(log_joint, hessian)

    def spy_newton(*args, **kwargs):
        found = newton(*args, **kwargs)
        caught["mode"] = found.z
        return found

    ref_laplace, newton = ref.log_laplace, _iterations.damped_newton
    monkeypatch.setattr(ref, "log_laplace", spy)
    monkeypatch.setattr(_iterations, "damped_newton", spy_newton)
    start = model.encode(x)[0]
    _iterations.laplace(model, x, start, 0.5, convention)
    z, components = caught["mode"], model.encode_pseudo_inputs(convention=convention)

    def negative(z):
        return -ref.log_likelihood(x, model.decode(z), 0.5) - ref.log_prior(z, *components, convention=convention)

    def along(direction, t):  # the geodesic from z in a unit tangent direction
        return np.cos(t) * z + np.sin(t) * np.squeeze(frame @ direction, -1)

    frame, h = tangent_basis(z, "sphere"), 1e-3
    directions = [np.array(d)[:, None] for d in ([1.0, 0.0], [0.0, 1.0], [np.sqrt(0.5)] * 2)]
    here = negative(z)
    np.testing.assert_allclose(caught["log_joint"], -here, rtol=1e-13)
    assert np.all(here <= negative(start) + 1e-12)
    scale = 1 + np.abs(caught["hessian"]).max()
    for u in directions:
        f = [negative(along(u, i * h)) for i in (-2, -1, 0, 1, 2)]
        slope = (8 * (f[3] - f[1]) - (f[4] - f[0])) / (12 * h)
        bend = (-f[4] + 16 * f[3] - 30 * f[2] + 16 * f[1] - f[0]) / (12 * h * h)
        want = np.squeeze(u.T @ caught["hessian"] @ u, (1, 2))
        np.testing.assert_allclose(slope, 0, atol=1e-7 * scale)
        np.testing.assert_allclose(bend, want, rtol=0, atol=1e-6 * scale)


@given(seed=seeds, d=st.integers(1, 6), k=st.integers(1, 4), sigma2=st.floats(0.1, 10))
def test_laplace_is_exact_for_a_gaussian(seed, d, k, sigma2):
    # z ~ N(0, I), x|z ~ N(Wz + b, σ²I): log p(x, z) is quadratic, and p(x) = N(b, WWᵀ + σ²I).
    rng = rng_of(seed)
    w, b, x = rng.standard_normal((d, k)), rng.standard_normal(d), rng.standard_normal((3, d))
    h = np.eye(k) + w.T @ w / sigma2
    mode = np.linalg.solve(h, w.T @ (x - b).T / sigma2).T
    joint = ref.log_likelihood(x, mode @ w.T + b, sigma2) + ref.log_likelihood(mode, np.zeros_like(mode))
    covariance = w @ w.T + sigma2 * np.eye(d)
    _, log_det = np.linalg.slogdet(covariance)
    square = np.einsum("nd,nd->n", x - b, np.linalg.solve(covariance, (x - b).T).T)
    want = -0.5 * (square + log_det + d * np.log(2 * np.pi))
    scale = np.linalg.cond(covariance) * (10 + square)
    assert_close(ref.log_laplace(joint, np.broadcast_to(h, (3, k, k))), want, k=16, scale=scale)


@given(seed=seeds, d=st.integers(2, 6), k=st.integers(1, 4), sigma2=st.floats(0.1, 10))
def test_corrected_density_is_exact_for_a_linear_gaussian_model(seed, d, k, sigma2):
    # z ~ N(0, I), x = Wz + noise: p(x) = N(0, WWᵀ + σ²I), with the projection z = W⁺x.
    k = min(k, d - 1)
    rng = rng_of(seed)
    w, x = rng.standard_normal((d, k)), rng.standard_normal((3, d))
    z = x @ np.linalg.pinv(w).T
    got = ref.log_density_corrected(x, z @ w.T, z, np.broadcast_to(w, (3, d, k)), sigma2=sigma2)
    covariance = w @ w.T + sigma2 * np.eye(d)
    _, log_det = np.linalg.slogdet(covariance)
    square = np.einsum("nd,nd->n", x, np.linalg.solve(covariance, x.T).T)
    want = -0.5 * (square + log_det + d * np.log(2 * np.pi))
    s = np.linalg.svd(w, compute_uv=False)
    scale = (s[0] / s[-1] + np.linalg.cond(covariance)) * (10 + square + np.sum(z * z, axis=1))
    assert_close(got, want, k=16, scale=scale)


@pytest.mark.parametrize("r", [20.0, 100.0, 500.0])
def test_laplace_on_the_circle_approaches_the_integral(r):
    # decode(z) = r·z, p(z) uniform: p(x) = ∮ N(x; r z, 1) dz / 2π; Laplace's error falls as 1/(8 r|x|).
    eye = np.eye(2)
    decoder = (
        Dense(r * eye, np.zeros(2)),
        Dense(eye, np.zeros(2)),
        Dense(eye, np.zeros(2)),
        Dense(eye, np.zeros(2)),
    )
    head = Dense(eye, np.zeros(2))
    kappa = Dense(np.zeros((1, 2)), np.array([-800.0]))  # 100·sigmoid(−800) = 0: a uniform prior
    model = SVAE((head,) * 3, head, kappa, decoder, np.eye(1, 2), activation="identity")
    x = np.array([[0.6, 0.8]]) * 1.1
    got = _iterations.laplace(model, x, on_sphere(rng_of(0), 1, 2), 1.0, EXACT)
    concentration = 1.1 * r
    want = -0.5 * (1.21 + r * r) - np.log(2 * np.pi) + np.log(special.ive(0, concentration)) + concentration
    assert got[0] - want == pytest.approx(-1 / (8 * concentration), rel=0.1)


# ── projection ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("newton", [True, False])
@pytest.mark.parametrize("activation", ["swish", "tanh", "relu", "softplus"])
def test_projection_is_never_worse_than_the_start_and_stationary(activation, newton):
    model, rng = small_model(activation), rng_of(12)
    x = np.concatenate([rng.standard_normal((20, 5)), 100 * rng.standard_normal((5, 5))])
    start = model.encode(x)[0]
    hessian = model.decoder_bend if newton else None
    found = ref.project(x, start, model.decode, model.decoder_jacobian, hessian, steps=100)

    def distance(z):
        return np.sum((x - model.decode(z)) ** 2, axis=1)

    assert np.all(distance(found.z) <= distance(start) * (1 + 100 * 4 * EPS))
    assert_close(np.sum(found.z**2, axis=1), np.ones(25), k=8)
    if activation != "relu":  # which has kinks, where no gradient need vanish
        scale = np.linalg.norm(model.decoder_jacobian(found.z), axis=(1, 2)) * np.sqrt(distance(found.z))
        # Gauss-Newton converges linearly, the slower the further x is from the manifold; Newton to rounding.
        near, bound = (25, 1e-10) if newton else (20, 1e-2)
        assert np.all(found.gradient_norm[:near] <= bound * scale[:near])
        assert not newton or found.iterations.max() <= 30
        reported = np.einsum(
            "ndm,nd->nm", model.decoder_jacobian(found.z, tangent=True), x - model.decode(found.z)
        )
        assert_close(found.gradient_norm, np.linalg.norm(reported, axis=1), k=10, scale=scale)


@given(seed=seeds, d=st.integers(3, 8), k=st.integers(2, 3))
def test_projection_onto_a_linear_image_of_space(seed, d, k):
    rng = rng_of(seed)
    w, x = rng.standard_normal((d, k)), rng.standard_normal((4, d))
    found = ref.project(
        x, np.zeros((4, k)), lambda z: z @ w.T, lambda z: np.broadcast_to(w, (len(z), d, k)), latent="euclidean"
    )
    want = x @ np.linalg.pinv(w).T
    s = np.linalg.svd(w, compute_uv=False)
    scale = s[0] / s[-1] ** 2 * (1 + np.sum(x * x))  # a gradient of 1e-14·(1+f)·|J| ends the descent
    assert_close(found.z, want, k=100, scale=scale)


def test_points_on_the_manifold_are_found_again():
    model = small_model()
    z = on_sphere(rng_of(1), 6, 3)
    nudged = ref.normalize(z + 0.05 * rng_of(2).standard_normal(z.shape))
    found = levenberg_marquardt(
        model.decode(z), nudged, model.decode, model.decoder_jacobian, None, latent="sphere", steps=100
    )
    np.testing.assert_allclose(found.z, z, rtol=0, atol=1e-7)


def test_the_project_start_is_put_on_the_sphere():
    model, x = small_model(), rng_of(0).standard_normal((3, 5))
    z = on_sphere(rng_of(1), 3, 3)
    twice = ref.project(x, 2 * z, model.decode, model.decoder_jacobian, steps=0)
    assert_close(twice.z, z, k=2)
