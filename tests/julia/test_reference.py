"""Every function of `pyscore.reference` through the executable transport, against the reference.

Bounds are k·eps·scale, k and scale beside each row of the table.
"""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from pyscore import reference
from pyscore.backends import get_backend
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import InvalidInput, NumericalWarning, ShapeError
from pyscore.reference.minimise import adam_descent, riemannian
from pyscore.reference.model import SVAE
from pyscore.reference.network import mlp_hessian

pytestmark = pytest.mark.julia
EPS = {np.dtype("float64"): 2.3e-16, np.dtype("float32"): 1.2e-7}
SIZES = [(1, 2, 2), (33, 5, 3), (257, 30, 9)]  # n, d, k


def sphere(rng, n, k):
    return reference.normalize(rng.normal(size=(n, k)))


def cases(rng, n, d, k, convention):
    """Rows (name, arguments, keywords, bound k, scale) of functions on arrays."""
    x, x_hat = rng.normal(size=(n, d)), rng.normal(size=(n, d))
    z, mu = sphere(rng, n, k), sphere(rng, n, k)
    mu_u, kappa_u = sphere(rng, 7, k), rng.uniform(0.1, 100, 7)
    kappa = rng.uniform(0, 100, n)
    jacobian = rng.normal(size=(n, d, k))
    condition = np.linalg.cond(jacobian) + 10
    draws = rng.beta(0.5 * (k - 1), 0.5 * (k - 1), n), rng.normal(size=(n, k - 1))
    terms = rng.normal(size=(n, 11)) * 5 - 20, rng.normal(size=(n, 11)), rng.uniform(-1, 1, (n, 11))
    c = np.array([0.001, 0.1, 10.0])
    o = {"convention": convention}
    ring = 1e3  # 1/√(1−w²) at most, by the 10·eps(float32) of the original
    yield "normalize", (x,), o, 2, 1.0
    yield "householder", (z, mu), o, 4, 1.0
    yield "sample_vmf", (mu, kappa, *draws), o, 64, ring
    yield "log_likelihood", (x, x_hat, 0.7), o, 8, 10.0 * d
    yield "log_likelihood", (x, x_hat, np.linspace(0.5, 2, d)), o, 8, 10.0 * d
    yield "latent_error", (z, mu), {}, 4, 4.0
    yield "log_prior", (z, mu_u, kappa_u), o, 16, 200.0
    yield "log_vmf", (z, mu, kappa), {}, 8, 200.0
    yield "vmf_entropy", (kappa, k), {}, 16, 200.0
    yield "vmf_kl", (kappa, k), {}, 16, 200.0
    yield "log_volume", (jacobian,), {}, 16, condition
    yield "log_importance", (*terms, kappa, k), o, 16, 300.0
    if n > 1:
        yield "imq_kernel_mean", (z, None, c), o, 16, 1 + 1 / c
        yield "mmd_imq", (z, mu_u, c), o, 16, 1 + 1 / c
    yield "imq_kernel_mean", (z, mu_u, c), o, 16, 1 + 1 / c


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=["exact", "original"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_functions_on_arrays(size, convention, dtype, julia, julia32, rng, close):
    backend = julia if dtype == "float64" else julia32
    for name, args, keywords, k, scale in cases(rng, *size, convention):
        # What float32 rounds away from the input is not the function's error.
        rounded = [a.astype(dtype).astype(np.float64) if isinstance(a, np.ndarray) else a for a in args]
        wanted = rounded
        if (
            dtype == "float32"
            and name in {"normalize", "householder", "sample_vmf", "encode"}
            and convention is ORIGINAL
        ):
            k = 64  # the eps under its roots is that of the type
        want = getattr(reference, name)(*wanted, **keywords)
        got = getattr(backend, name)(*args, **keywords)
        assert got.dtype == backend.dtype
        extra = 0 if dtype == "float64" else 8
        close(got, want, k + extra, EPS[backend.dtype], scale, f"{name} n, d, k = {size}")


def test_rest_of_the_reference(julia, rng, close):
    """Functions that are not part of the Backend protocol, by the worker's own names."""
    n, d, k = 40, 12, 4
    x, x_hat, z, y = rng.normal(size=(n, d)), rng.normal(size=(n, d)), sphere(rng, n, k), sphere(rng, n, k)
    J, J_encoder = rng.normal(size=(n, d, k)), rng.normal(size=(n, k, d))
    mu_u, kappa_u = sphere(rng, 5, k), rng.uniform(1, 90, 5)
    K = [rng.uniform(size=(n, n)) for _ in range(3)]
    H = np.stack([a @ a.T + np.eye(3) for a in rng.normal(size=(n, 3, 3))])
    pairs = rng.normal(size=(6, 15, k)), rng.normal(size=(6, 17, k))
    condition = np.linalg.cond(J) + 10
    for convention in (EXACT, ORIGINAL):
        o = {"convention": convention}
        spread = (x, x_hat, z, J)
        rows = [
            ("log_prior_jacobian_decoder", (z, J, mu_u, kappa_u), o, 32, condition + 200),
            ("log_prior_jacobian_encoder", (z, J_encoder, mu_u, kappa_u), o, 64, np.linalg.cond(J_encoder) + 200),
            ("pairwise_distance", (z, y), o, 8, 4.0),
            ("pairwise_distance", (x, x_hat, "squared_euclidean"), o, 32, 100.0),
            ("mmd", (z, y), {"width": 0.3, **o}, 16, 10.0),
            ("mmd", (z, y), {"width": 0.3, "kernel": "rq", "distance": "squared_euclidean", **o}, 16, 10.0),
            ("kernel_mean", (z,), {"width": 0.3, "kernel": "gaussian", **o}, 16, 10.0),
            ("mmd_variance", tuple(K), o, 64, 4.0),
            # MMD² and its variance both cancel, nearly to nothing with Frobenius distances.
            ("imq_width_criterion", (z, y, np.array([0.01, 0.1, 1.0])), o, 1e5, 100.0),
            ("mmd_null", (*pairs, 0.3), o, 16, 10.0),
            ("mmd_p_value", (np.linspace(0, 1, 20), 0.33), o, 0, 1.0),
            ("log_density_corrected", spread, o, 64, condition + 200),
        ]
        for name, args, keywords, bound, scale in rows:
            want = getattr(reference, name)(*args, **keywords)
            got = julia.call(name, *args, **keywords)
            close(got, want, bound, 2.3e-16, scale, f"{name} {convention.name}")
    spherical = {"latent": "sphere", "mu_u": mu_u, "kappa_u": kappa_u, "sigma2": 0.5}
    close(
        julia.call("log_density_corrected", *spread, **spherical),
        reference.log_density_corrected(*spread, **spherical),
        64,
        2.3e-16,
        condition + 200,
        "corrected, sphere",
    )
    close(
        julia.call("log_laplace", np.ones(n), H),
        reference.log_laplace(np.ones(n), H),
        64,
        2.3e-16,
        np.linalg.cond(H),
        "log_laplace",
    )
    close(julia.call("tangent_frame", z), reference.tangent_frame(z), 0, 2.3e-16, 1.0, "tangent_frame")
    kappas = np.geomspace(1e-8, 1e4, 200)
    for dim in (2, 3, 4, 9, 33, 65):
        close(
            julia.call("log_vmf_normaliser", kappas, dim),
            reference.log_vmf_normaliser(kappas, dim),
            64,
            2.3e-16,
            100 + kappas,
            f"log C, k = {dim}",
        )
    labels = np.tile([0, 1, 0, 0], 10)
    scores = np.round(rng.normal(size=40) + labels, 1)
    assert julia.call("roc_auc", scores, labels) == reference.roc_auc(scores, labels)


@pytest.mark.parametrize(
    "field",
    [f for f in EXACT.fields("scoring") if f not in ("known_anomalies", "goodness_rows", "latent_error_sign")],
)
def test_each_field_switched_alone(field, julia, rng, close):
    """A convention with one field at its other value gives the reference's number, and not the one of EXACT."""
    convention = EXACT.switched(field)
    n, d, k = 30, 8, 3
    model = SVAE.initialise(d, k, 16, 4, dtype=np.float64)
    numpy = get_backend("numpy")
    x = rng.normal(size=(n, d))
    z = numpy.encode(model, x)[0]
    J, components = model.decoder_jacobian(z), model.encode_pseudo_inputs()
    encoder_J = model.encoder_jacobian(x)
    a = rng.normal(size=(n, 9))
    by_field = {
        "volume_weight": ("log_prior_jacobian_decoder", (z, J, *components), {}),
        "jacobian": ("log_prior_jacobian_decoder", (z, J, *components), {}),
        "encoder_jacobian": ("log_prior_jacobian_encoder", (z[:, ::-1], encoder_J + 0.1, *components), {}),
        "prior_density": ("log_prior", (z, *components), {}),
        "importance": ("log_importance", (a - 5, a, np.tanh(a), rng.uniform(1, 50, n), k), {}),
        "width_distance": ("pairwise_distance", (z, 2 * z[:7]), {}),
        "mmd_variance": ("mmd_variance", tuple(rng.uniform(size=(9, 9)) for _ in range(3)), {}),
        "p_value": ("mmd_p_value", (np.linspace(0, 1, 9), 0.4), {}),
        "log_two_pi": ("log_likelihood", (x, x + 1), {}),
        "norm_eps": ("normalize", (x * 1e-7,), {}),
        "projection": None,
        "corrected_volume": ("log_density_corrected", (x, model.decode(z), z, J), {}),
        "mmd_diagonal": ("mmd_imq", (z, z[::2] + 0.0, np.array([0.1])), {}),
    }
    if field == "projection":
        want = adam_descent(x, z, model.decode, model.decoder_jacobian, steps=100).z
        exact = julia.call("project", model, x, z)[0]
        got = julia.call("project", model, x, z, convention=convention)[0]
        scale = 1.0
    else:
        name, args, keywords = by_field[field]
        want = getattr(reference, name)(*args, convention=convention, **keywords)
        exact = getattr(reference, name)(*args, **keywords)
        got = julia.call(name, *args, convention=convention, **keywords)
        scale = 100.0 + 10 * (np.linalg.cond(J).max() if J.shape else 0)
    close(got, want, 256, 2.3e-16, scale, field)
    with pytest.raises(AssertionError, match="needs k"):
        close(got, exact, 256, 2.3e-16, scale, field)


@pytest.mark.parametrize(
    "convention", [EXACT, ORIGINAL, replace(EXACT, norm_eps="machine")], ids=["exact", "original", "eps"]
)
@pytest.mark.parametrize("size", SIZES)
def test_functions_on_models(size, convention, julia, rng, close):
    n, d, k = size
    model = SVAE.initialise(d, k, 32, 5, seed=3, dtype=np.float64)
    numpy, x = get_backend("numpy"), rng.normal(size=(n, d))
    wanted = frozenset({"log_likelihood", "log_prior", "latent_error", "decoder_log_volume", "x_hat"})
    if convention.encoder_jacobian == "tangent":
        wanted |= {"encoder_log_volume"}  # the ambient one is noise, see test_golden
    z = numpy.encode(model, x, convention=convention)[0]
    close(
        julia.encode(model, x, convention=convention)[1],
        numpy.encode(model, x, convention=convention)[1],
        16,
        2.3e-16,
        100.0,
        "kappa",
    )
    close(julia.decode(model, z), numpy.decode(model, z), 16, 2.3e-16, 4.0, "decode")
    got = julia.run_pass(model, x, wanted, convention=convention)
    want = numpy.run_pass(model, x, wanted, convention=convention)
    condition = np.linalg.cond(model.decoder_jacobian(z, tangent=convention.jacobian == "tangent"))
    for name in {*want}:
        if name == "encoder_log_volume":
            frame = reference.tangent_frame(z)
            scale = 100 * np.linalg.cond(
                np.swapaxes(frame, 1, 2) @ model.encoder_jacobian(x, convention=convention)
            )
        else:
            scale = 200.0 + condition if want[name].ndim == 1 else 4.0
        close(got[name], want[name], 64, 2.3e-16, scale, name)


def test_projection_and_laplace_terms(julia, rng, close):
    model = SVAE.initialise(6, 3, 16, 4, seed=1, dtype=np.float64)
    codes = sphere(rng, 25, 3)
    x = model.decode(codes) + 1e-3 * rng.normal(size=(25, 6))
    start = reference.normalize(codes + 0.1 * rng.normal(size=codes.shape))
    z, gradient, iterations = julia.call("project", model, x, start)
    assert np.max(gradient) < 1e-10
    assert np.all(iterations > 0)
    error = np.sum((x - model.decode(z)) ** 2, axis=1)
    assert np.all(error <= np.sum((x - model.decode(start)) ** 2, axis=1))
    found = reference.project(x, start, model.decode, model.decoder_jacobian)
    # Two descents end where ‖e‖² no longer decreases, which fixes z to the root of eps only.
    close(z, found.z, 1e8, 2.3e-16, 1.0, "projection")


def test_projection_of_far_points_ends_at_a_minimum(julia, rng):
    """Large residuals, where Gauss-Newton steps would crawl: the whole Hessian is used."""
    model = SVAE.initialise(6, 3, 16, 4, seed=1, dtype=np.float64)
    x, start = 3 * rng.normal(size=(25, 6)), sphere(rng, 25, 3)
    z, gradient, iterations = julia.call("project", model, x, start)
    assert np.max(gradient) < 1e-9
    assert np.max(iterations) < 60
    error = np.sum((x - model.decode(z)) ** 2, axis=1)
    for _ in range(20):
        near = reference.normalize(z + 1e-3 * rng.normal(size=z.shape))
        assert np.all(np.sum((x - model.decode(near)) ** 2, axis=1) >= error - 1e-9)


def test_posterior_hessian_by_differences(julia, rng):
    """Second differences of −log p(x, z) along great circles: the diagonal of the Riemannian Hessian."""
    model = SVAE.initialise(6, 3, 16, 4, seed=1, dtype=np.float64)
    z, x = sphere(rng, 5, 3), rng.normal(size=(5, 6))
    H = julia.call("posterior_hessian", model, x, z, sigma2=0.5)
    frame = reference.tangent_frame(z)

    def objective(point):
        prior = reference.log_prior(point, *model.encode_pseudo_inputs())
        return np.sum((x - model.decode(point)) ** 2, axis=1) - prior

    h = 1e-4
    for j in range(2):
        step = frame[:, :, j]
        ahead, back = np.cos(h) * z + np.sin(h) * step, np.cos(h) * z - np.sin(h) * step
        second = (objective(ahead) - 2 * objective(z) + objective(back)) / h**2
        np.testing.assert_allclose(H[:, j, j], second, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(H, np.swapaxes(H, 1, 2), atol=1e-11)


def test_posterior_hessian_against_the_reference(julia, rng, close):
    """The decoder's second derivatives by `network.mlp_hessian`, far from the linear range of swish."""
    weights = {n: 2 * a for n, a in SVAE.initialise(6, 3, 16, 4, seed=1, dtype=np.float64).parameters().items()}
    model = SVAE.from_parameters(weights | {"decoder.0.bias": rng.normal(size=16)})
    z, x = sphere(rng, 20, 3), rng.normal(size=(20, 6))
    flat = replace(EXACT, prior_density="unit_kappa")
    J, residual = model.decoder_jacobian(z), x - model.decode(z)
    hessian = np.swapaxes(J, 1, 2) @ J - mlp_hessian(z, model.decoder, "swish", residual)
    gradient = -np.einsum("ndk,nd->nk", J, residual)
    exponents = np.exp(z @ model.encode_pseudo_inputs()[0].T)
    share = exponents / exponents.sum(axis=1, keepdims=True)
    mean = share @ model.encode_pseudo_inputs()[0]
    second = np.einsum("np,pk,pl->nkl", share, *[model.encode_pseudo_inputs()[0]] * 2)
    _, want = riemannian(z, gradient - mean, hessian - second + mean[:, :, None] * mean[:, None], "sphere")
    got = julia.call("posterior_hessian", model, x, z, convention=flat)
    close(got, want, 256, 2.3e-16, np.max(np.abs(hessian), axis=(1, 2))[:, None, None] + 1, "posterior Hessian")


def test_own_draws_have_the_mean_of_vmf(julia):
    """E z·mu = A_k(κ), with draws made in Julia; and the same seed gives the same draws."""
    n, k, kappa = 20_000, 4, 7.0
    mu = np.tile([0.5, 0.5, 0.5, 0.5], (n, 1))
    z = julia.call("draw_vmf", mu, np.full(n, kappa), 5)
    mean = -(reference.vmf_entropy(kappa, k) + reference.log_vmf_normaliser(kappa, k)) / kappa
    assert abs(np.mean(np.sum(z * mu, axis=1)) - mean) < 4 * 0.25 / np.sqrt(n)
    np.testing.assert_allclose(np.sum(z * z, axis=1), 1, atol=1e-14)
    assert np.array_equal(z, julia.call("draw_vmf", mu, np.full(n, kappa), 5))


def test_singular_jacobians_warn_and_give_minus_infinity(julia):
    jacobian = np.random.default_rng(0).normal(size=(4, 5, 3))
    jacobian[1, :, 2] = 0
    jacobian[3] = np.nan
    with pytest.warns(NumericalWarning, match=r"rows 1\)"):
        volume = julia.log_volume(jacobian)
    assert volume[1] == -np.inf
    assert np.isnan(volume[3])
    assert np.isfinite(volume[[0, 2]]).all()
    with pytest.warns(NumericalWarning, match="not positive definite"):
        assert julia.call("log_laplace", np.zeros(1), -np.eye(2)[None])[0] == -np.inf


def test_tiny_and_huge_jacobians_keep_their_volume(julia, close):
    """Squares of 1e-200 underflow: the QR works on entries scaled by a power of two."""
    jacobian = np.random.default_rng(0).normal(size=(6, 7, 3))
    want = reference.log_volume(jacobian)
    for factor in (1e-200, 1e-30, 1e150):
        close(julia.log_volume(jacobian * factor), want + 3 * np.log(factor), 64, 2.3e-16, 1500.0, str(factor))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_no_rows_and_few_rows(n, julia):
    x, z = np.zeros((n, 4)), np.full((n, 2), np.sqrt(0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert julia.log_likelihood(x, x).shape == (n,)
        assert julia.log_prior(z, z[:1] if n else np.eye(2), [1.0] * (1 if n else 2)).shape == (n,)
        assert julia.normalize(np.ones((n, 3))).shape == (n, 3)
        assert julia.log_volume(np.ones((n, 4, 1))).shape == (n,)


def test_memory_layouts_do_not_matter(julia, rng):
    x = rng.normal(size=(20, 9))
    want = julia.normalize(x)
    for same in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x.astype(">f8")):
        assert np.array_equal(julia.normalize(same), want)
    x.flags.writeable = False
    assert np.array_equal(julia.normalize(x), want)


ERRORS = [
    (ShapeError, "`mu` must have two axes", lambda b: b.householder(np.ones((2, 2)), np.ones(2))),
    (
        ShapeError,
        r"`z` must have shape \(n, 3\)",
        lambda b: b.log_prior(np.ones((2, 2)), np.ones((4, 3)), np.ones(4)),
    ),
    (InvalidInput, "`kappa_u` must be given", lambda b: b.log_prior(np.ones((2, 2)), np.ones((4, 2)))),
    (InvalidInput, "`kappa` must be at least 0", lambda b: b.log_vmf(np.ones((1, 2)), np.ones((1, 2)), [-1.0])),
    (InvalidInput, "`sigma2` must be positive", lambda b: b.log_likelihood(np.ones((1, 2)), np.ones((1, 2)), 0.0)),
    (InvalidInput, "`c` must be positive", lambda b: b.mmd_imq(np.ones((3, 2)), np.ones((3, 2)), [0.0])),
    (ShapeError, "at least 2 row", lambda b: b.imq_kernel_mean(np.ones((1, 2)))),
    (InvalidInput, "numbers; got dtype", lambda b: b.normalize([["a"]])),
]


@pytest.mark.parametrize(("error", "message", "call"), ERRORS, ids=[m for _, m, _ in ERRORS])
def test_bad_arguments(error, message, call, julia):
    with pytest.raises(error, match=message):
        call(julia)
