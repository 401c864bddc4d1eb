"""The exact density against the truth, on manifolds where that is known.

Tolerances: the score's error is of a known order in σ, and where its leading coefficient has a closed form it is
compared with that; masses are those of Weyl's tube formula to the accuracy of the grid.
"""

import dataclasses

import numpy as np
import pytest
from closeness import assert_close
from scipy import special

from pyscore import reference as ref
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import InvalidInput
from pyscore.reference.minimise import riemannian
from pyscore.scoring import scores
from pyscore.studies import exact_density as ed
from pyscore.studies import manifolds as mf
from pyscore.training.config import TrainConfig

EPS = np.finfo(float).eps
GRID = 2e-8
"""Trapezoid rule of spacing σ across a Gaussian, 2·exp(−2π²) = 5e-9 in each of up to 3 directions, and the tails."""

NAMES = list(ed.MANIFOLDS)
CURVED = [n for n in NAMES if n != "linear"]
GAUSSIAN = ["linear", "parabola", "Swiss roll"]


def rng_of(seed):
    return np.random.default_rng(seed)


# ── the manifolds themselves ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_of_manifolds(name):
    m, h = ed.MANIFOLDS[name](), 1e-4
    z, rng = m.draw_codes(6, rng_of(0)), rng_of(1)
    weights = rng.standard_normal((6, m.input_dim))
    _, gradient, hessian = m.prior(z)

    def difference(f, axis):
        step = h * np.eye(m.latent_dim)[axis]
        return (8 * (f(z + step) - f(z - step)) - (f(z + 2 * step) - f(z - 2 * step))) / (12 * h)

    def pulled(z):
        return np.einsum("nd,ndk->nk", weights, m.decoder_jacobian(z))

    for axis in range(m.latent_dim):  # error of the formula: h⁴ times a fifth derivative, and eps/h
        close = {"rtol": 0, "atol": 1e-9}
        np.testing.assert_allclose(m.decoder_jacobian(z)[:, :, axis], difference(m.decode, axis), **close)
        np.testing.assert_allclose(m.decoder_bend(z, weights)[:, axis], difference(pulled, axis), **close)
        np.testing.assert_allclose(gradient[:, axis], difference(lambda z: m.prior(z)[0], axis), **close)
        np.testing.assert_allclose(hessian[:, axis], difference(lambda z: m.prior(z)[1], axis), **close)


def by_quadrature(m, x, sigma, nodes=400):
    """log p(x) of one row by the definition: a product rule over all codes."""
    circle = (np.arange(nodes) + 0.5) / nodes * 2 * np.pi
    if m.latent == "sphere":
        if m.latent_dim == 2:
            z, weight = np.column_stack([np.cos(circle), np.sin(circle)]), 2 * np.pi / nodes
        else:  # Archimedes: the area is uniform in the height
            heights, gauss = np.polynomial.legendre.leggauss(nodes)
            height, angle = (g.ravel() for g in np.meshgrid(heights, circle))
            ring = np.sqrt(1 - height**2)
            z = np.column_stack([ring * np.cos(angle), ring * np.sin(angle), height])
            weight = np.tile(gauss, nodes) * 2 * np.pi / nodes
    else:
        reach = np.pi if m.name == "torus" else 8.0
        side = (2 * np.arange(nodes) + 1 - nodes) / nodes * reach
        z = np.column_stack([g.ravel() for g in np.meshgrid(*[side] * m.latent_dim)])
        weight = (2 * reach / nodes) ** m.latent_dim
    log_pz = ref.log_prior(z, m.mu, m.kappa) if m.latent == "sphere" else m.prior(z)[0]
    likelihood = ref.log_likelihood(np.broadcast_to(x, (len(z), len(x))), m.decode(z), sigma**2)
    return np.log(np.sum(weight * np.exp(log_pz + likelihood)))


@pytest.mark.parametrize("name", NAMES)
def test_true_density_is_the_integral_it_is_said_to_be(name):
    m, sigma = ed.MANIFOLDS[name](), 0.5
    x = m.sample(4, sigma, seed=3)
    truth = m.log_density(x, sigma)
    assert truth.error < 1e-9
    want = [by_quadrature(m, row, sigma) for row in x]
    # The rule converges geometrically; Gaussian codes are cut at 8 deviations, a mass of 1e-15.
    np.testing.assert_allclose(truth.value, want, rtol=0, atol=1e-10)


def test_samples_have_the_density():
    # The mean of log p(x) over samples is ∫ p log p, here over a grid.
    m, sigma, n = ed.MANIFOLDS["ellipse"](), 0.2, 4000
    side = np.arange(-3.6, 3.6, 0.05)
    grid = np.column_stack([g.ravel() for g in np.meshgrid(side, side)])
    log_p = m.log_density(grid, sigma).value
    negative_entropy = np.sum(np.exp(log_p) * log_p) * 0.05**2
    values = m.log_density(m.sample(n, sigma, seed=1), sigma).value
    assert abs(np.mean(values) - negative_entropy) < 4 * np.std(values) / np.sqrt(n)


def test_same_seed_same_rows():
    m = mf.Torus()
    np.testing.assert_array_equal(m.sample(5, 0.1, 7), m.sample(5, 0.1, 7))
    assert not np.array_equal(m.sample(5, 0.1, 7), m.sample(5, 0.1, 8))


@pytest.mark.parametrize("name", NAMES)
def test_nearest_points_are_stationary_and_no_grid_point_is_nearer(name):
    m = ed.MANIFOLDS[name]()
    x = m.sample(40, 0.1, seed=2)
    found = m.nearest(x)
    distance = np.linalg.norm(x - m.decode(found.z), axis=1)
    assert np.all(found.gradient_norm <= 1e-9)
    others = m.decode(m.draw_codes(3000, rng_of(5)))
    nearest = np.sqrt(np.min(np.sum((x[:, None] - others) ** 2, axis=2), axis=1))
    assert np.all(distance <= nearest + 8 * EPS)


def test_the_model_is_the_manifold():
    m = mf.circle(input_dim=3)
    model = m.svae()
    mu, kappa = model.encode_pseudo_inputs()
    assert_close(mu, m.mu, k=4)
    assert_close(kappa, m.kappa, k=64, scale=m.kappa)
    z = m.draw_codes(5, rng_of(0))
    assert_close(model.decode(z), m.decode(z), k=4, scale=2)
    assert_close(model.encode(m.decode(z))[0], z, k=8)


# ── errors of the scores ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sigma", [0.01, 0.3, 3.0])
def test_corrected_and_laplace_are_exact_for_a_linear_decoder_at_any_sigma(sigma):
    m = ed.MANIFOLDS["linear"]()
    x = m.sample(50, sigma, seed=1)
    truth = m.log_density(x, sigma)
    got = ed.log_densities(m, x, sigma, ["corrected", "laplace"])
    scale = (10 + np.sum(x * x, axis=1) / sigma**2) * np.linalg.cond(m.weight) ** 2
    assert_close(got["corrected"], truth.value, k=8, scale=scale)
    assert_close(got["laplace"], truth.value, k=8, scale=scale)


def test_leading_error_on_a_circle():
    """log p(x) = score + log(1 + σ²/r²·(p''/2p + 1/8)) + O(σ⁴) on the circle, from the expansion of ∮ p(θ) N dθ."""
    m = mf.circle(radius=2.0)
    x = m.sample(200, 0.0, seed=1)
    z = x / 2
    _, gradient, hessian = m.prior(z)
    around = np.column_stack([-z[:, 1], z[:, 0]])
    first = np.sum(gradient * around, axis=1)
    second = np.einsum("ni,nij,nj->n", around, hessian, around) - np.sum(gradient * z, axis=1)
    for sigma in (0.02, 0.01):
        error = ed.log_densities(m, x, sigma, ["exact"])["exact"] - m.log_density(x, sigma).value
        leading = -((sigma / 2.0) ** 2) * (0.5 * (second + first**2) + 0.125)
        assert np.max(np.abs(error - leading)) < 20 * (sigma / 2.0) ** 4  # the next coefficient; measured below 11


@pytest.mark.parametrize("name", NAMES)
def test_error_on_the_manifold_is_of_second_order(name):
    m = ed.MANIFOLDS[name]()
    x = m.sample(300, 0.0, seed=1)
    rms = [
        np.sqrt(np.mean((ed.log_densities(m, x, s, ["exact"])["exact"] - m.log_density(x, s).value) ** 2))
        for s in (0.01, 0.005)
    ]
    # Halving σ divides an error aσ² + bσ⁴ by 4·(1 + 3σ²b/4a): 4 to 1 % for b/a below 130.
    assert 3.96 < rms[0] / rms[1] < 4.04
    assert rms[0] < 10 * 0.01**2


@pytest.mark.parametrize("name", CURVED)
def test_error_off_the_manifold_is_half_the_curvature(name):
    """score − log p = ½ log det(I − (JᵀJ)⁻¹ Σ e_i ∇²f_i) + O(σ²), which Laplace has not got."""
    m = ed.MANIFOLDS[name]()
    plain, repaired, laplace = [], [], []
    for sigma in (0.02, 0.01):
        x = m.sample(300, sigma, seed=1)
        truth = m.log_density(x, sigma).value
        got = ed.log_densities(m, x, sigma, ["exact", "laplace"])
        z = m.nearest(x).z
        j, e = m.decoder_jacobian(z), x - m.decode(z)
        metric = np.swapaxes(j, 1, 2) @ j
        gradient = -np.einsum("ndk,nd->nk", j, e)
        bent = riemannian(z, gradient, metric - m.decoder_bend(z, e), m.latent)[1]
        flat = riemannian(z, 0 * gradient, metric, m.latent)[1]
        curvature = 0.5 * (np.linalg.slogdet(bent)[1] - np.linalg.slogdet(flat)[1])
        plain.append(np.sqrt(np.mean((got["exact"] - truth) ** 2)))
        repaired.append(np.sqrt(np.mean((got["exact"] - curvature - truth) ** 2)))
        laplace.append(np.sqrt(np.mean((got["laplace"] - truth) ** 2)))
    assert 1.9 < plain[0] / plain[1] < 2.2  # σ
    assert 3.8 < repaired[0] / repaired[1] < 4.2  # σ²
    assert laplace[0] / laplace[1] > 3.8  # σ²; σ⁴ on the sphere in R³
    assert repaired[1] < 0.2 * plain[1]
    assert laplace[1] < 0.2 * plain[1]


@pytest.mark.parametrize("name", CURVED)
def test_laplace_is_better_at_moderate_noise_and_original_is_no_density(name):
    rows = ed.error_table(ed.MANIFOLDS[name](), [0.1], n=300, seed=1).set_index("score")
    assert rows.noisy["laplace"] < 0.2 * rows.noisy["exact"]
    assert rows.noisy["exact"] < 0.2
    assert abs(rows.bias["original"]) > 1.0
    assert rows.integral_error.max() < 1e-9
    assert ("corrected" in rows.index) == (name in GAUSSIAN)


def test_original_ranks_differently_where_the_volume_varies():
    """On ellipse and circle the deviation of the error, which no constant repairs, is many times that of EXACT."""
    for name in ("circle", "ellipse", "sphere"):
        rows = ed.error_table(ed.MANIFOLDS[name](), [0.02], n=300, seed=1).set_index("score")
        assert rows.deviation["original"] > 20 * rows.deviation["exact"]


# ── mass ─────────────────────────────────────────────────────────────────────────────────────────────────


def check_mass(name, sigma):
    m = ed.MANIFOLDS[name]()
    want = 1 + sigma**2 * m.expected_curvature()
    assert abs(ed.total_mass(m, sigma) - want) < GRID


@pytest.mark.parametrize(
    ("name", "sigma"),
    [("linear", 0.5), ("circle", 0.1), ("circle in R³", 0.2), ("ellipse", 0.08), ("sphere", 0.19), ("parabola", 0.06),
     ("torus", 0.05)],
)  # fmt: skip
def test_the_exact_score_integrates_to_one(name, sigma):
    check_mass(name, sigma)


def off_by(function, change):
    def changed(*args, **kwargs):
        return change(function(*args, **kwargs))

    return changed


@pytest.mark.parametrize("name", ["circle", "parabola"])
@pytest.mark.parametrize(
    ("target", "change"),
    [("log_volume", lambda v: 2 * v), ("log_volume", lambda v: v + 1e-6), ("normal_dimensions", lambda m: m + 1),
     ("normal_dimensions", lambda m: m - 1)],
)  # fmt: skip
def test_a_wrong_volume_or_dimension_count_is_noticed(monkeypatch, name, target, change):
    monkeypatch.setattr(ref, target, off_by(getattr(ref, target), change))
    with pytest.raises(AssertionError):
        check_mass(name, 0.06 if name == "parabola" else 0.1)


def test_each_quirk_of_the_original_changes_the_mass():
    r = 2.0
    masses = ed.quirk_masses(mf.circle(radius=r), 0.2)
    assert abs(masses["EXACT"] - 1) < GRID
    assert abs(masses["volume_weight"] - 1 / r) < GRID  # the volume is r everywhere, divided by once more
    assert abs(masses["jacobian"] - 1 / r) < GRID  # so is the stretch along the radius
    # ∮ exp(cos) = 2π I_0(1) for each component
    assert abs(masses["prior_density"] - 2 * np.pi * special.i0(1.0)) < GRID * 8
    assert ed.total_mass(mf.circle(radius=r), 0.2, "original") > 1.5


# ── σ² and the projection, end to end ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "m", [mf.circle(), mf.circle(input_dim=5), mf.sphere()], ids=lambda m: str(m.weight.shape)
)
def test_residual_variance_counts_normal_dimensions(m):
    sigma, n = 0.05, 1000
    estimate = scores.residual_variance(m.svae(), m.sample(n, sigma, seed=1))
    # χ² with n·m degrees of freedom; the curvature adds a relative (σ/r)² < 2e-3
    assert abs(estimate / sigma**2 - 1) < 4 * np.sqrt(2 / (n * m.normal_dim)) + 2e-3
    assert ref.residual_variance([[3.0, 0, 0]], [[0.0, 0, 0]], 1, latent="euclidean") == 4.5
    assert ref.residual_variance([[3.0, 0, 0]], [[0.0, 0, 0]], 2) == 4.5
    assert (ref.normal_dimensions(5, 2, "sphere"), ref.normal_dimensions(5, 2, "euclidean")) == (4, 3)


def test_residual_variance_needs_residuals():
    with pytest.raises(InvalidInput, match=r"σ² can't be estimated .*Give `sigma2` as a number"):
        ref.residual_variance(np.ones((3, 2)), np.ones((3, 2)), 2)
    with pytest.raises(InvalidInput, match="over 0 normal coordinates"):
        ref.residual_variance(np.ones((3, 2)), np.zeros((3, 2)), 2, latent="euclidean")
    with pytest.raises(InvalidInput, match="`d` must be an integer of at least 3"):
        ref.normal_dimensions(2, 4, "sphere")


def test_projection_report():
    m = mf.ellipse()
    model, x = m.svae(), m.sample(60, 0.2, seed=1)
    report = scores.projection_report(model, x, backend="numpy")
    found = scores.project(model, x, backend="numpy")
    assert np.all(report["distance"] <= report["encoder_distance"] * (1 + 4 * EPS))
    assert (report["distance"] < report["encoder_distance"] - 1e-3).any()
    assert np.all(report["gradient_norm"] < 1e-9)
    assert 1 <= report["iterations"].max() <= 30
    np.testing.assert_array_equal(report["gradient_norm"], found.gradient_norm)
    cut = scores.projection_report(model, x, steps=0, backend="numpy")
    assert_close(cut["distance"], cut["encoder_distance"], k=8, scale=4)  # the code is normalised once more
    assert (cut["gradient_norm"] > 1e-3).any()


@pytest.fixture(scope="module")
def fitted():
    from pyscore import fit

    return fit(mf.circle().sample(300, 0.1, 0), TrainConfig(steps=30), latent_dim=2, hidden_dim=8)


def test_sigma2_of_a_fitted_model(fitted, tmp_path):
    x = mf.circle().sample(20, 0.1, 1)
    variance = fitted.residual_variance
    assert variance == scores.residual_variance(
        fitted.model, fitted.standardiser.transform(mf.circle().sample(300, 0.1, 0))
    )
    names = ["proposed", "corrected", "laplace"]
    by_name = fitted.scores(x, names, sigma2="residual", backend="numpy")
    by_number = scores.score_table(
        fitted.model, fitted.standardiser.transform(x), names, sigma2=variance, backend="numpy"
    )
    np.testing.assert_array_equal(by_name, by_number)
    assert not np.array_equal(by_name, fitted.scores(x, names, backend="numpy"))
    fitted.save(tmp_path / "m.safetensors")
    again = type(fitted).load(tmp_path / "m.safetensors")
    assert again.residual_variance == variance
    np.testing.assert_array_equal(
        again.projection_report(x, backend="numpy"), fitted.projection_report(x, backend="numpy")
    )
    without = dataclasses.replace(fitted, residual_variance=None)
    with pytest.raises(
        InvalidInput, match=r"this model holds no variance of its training residuals. Fit it again"
    ):
        without.scores(x, sigma2="residual", backend="numpy")
    with pytest.raises(InvalidInput, match="`sigma2` must be a number, one a feature, or 'residual'; got 'auto'"):
        fitted.scores(x, sigma2="auto", backend="numpy")
    without.save(tmp_path / "old.safetensors")
    assert type(fitted).load(tmp_path / "old.safetensors").residual_variance is None


def test_sigma2_and_projection_on_the_command_line(fitted, tmp_path, capsys):
    import json

    import pandas as pd

    from pyscore.cli.app import main

    path, table = tmp_path / "m.safetensors", tmp_path / "t.csv"
    fitted.save(path)
    x = mf.circle().sample(12, 0.1, 1)
    frame = pd.DataFrame(x, columns=list(fitted.standardiser.columns)).assign(y=[0, 1] * 6)
    frame.to_csv(table, index=False)

    def rows(*arguments):
        with pytest.raises(SystemExit) as end:
            main([*map(str, arguments), "--json"])
        assert end.value.code == 0
        return json.loads(capsys.readouterr().out)["rows"]

    score = ["score", path, table, "--backend", "numpy", "--scores", "corrected"]
    one, residual = rows(*score), rows(*score, "--sigma2", "residual", "--projection")
    number = rows(*score, "--sigma2", repr(fitted.residual_variance))
    assert list(residual[0]) == ["corrected", "encoder_distance", "distance", "gradient_norm", "iterations"]
    assert [r["corrected"] for r in residual] == [r["corrected"] for r in number]
    assert [r["corrected"] for r in residual] != [r["corrected"] for r in one]
    evaluate = ["evaluate", table, "--model", path, "--label", "y", "--scores", "corrected", "--backend", "numpy"]
    mean = np.mean([r["corrected"] for r in residual])
    assert rows(*evaluate, "--sigma2", "residual")[0]["mean_log_density"] == pytest.approx(mean, rel=1e-12)


# ── trained models ───────────────────────────────────────────────────────────────────────────────────────


def test_a_trained_model_comes_near_the_true_density():
    """400 steps on the parabola: EXACT within 0.1 nats of the truth on average; ORIGINAL does not rank like it."""
    config = TrainConfig(steps=400, learning_rate=1e-2, beta=0.1, batch_size=64)
    result = ed.train_and_score(mf.Parabola(), 0.1, config, n=300, latent_dim=2, hidden_dim=16)
    agreement = {name: ed.agreement(result.truth, values) for name, values in result.scores.items()}
    exact, original = agreement["corrected, EXACT"], agreement["proposed, ORIGINAL"]
    assert exact["pearson"] > 0.9  # measured .99
    assert original["pearson"] < 0.5
    assert abs(exact["bias"]) < 0.1  # measured −.02
    assert exact["rms"] < 0.25 * original["rms"]
    # relative standard error of σ̂ with n·m = 300 degrees of freedom, and as much again for the fit
    assert abs(result.sigma / 0.1 - 1) < 2 * 4 / np.sqrt(2 * 300)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────


def test_messages():
    m = mf.circle()
    with pytest.raises(InvalidInput, match="`names` must be one of 'exact'"):
        ed.log_densities(m, np.ones((1, 2)), 0.1, ["best"])
    with pytest.raises(InvalidInput, match="`sigma` must be a finite number above 0"):
        m.log_density(np.ones((1, 2)), 0.0)
    with pytest.raises(InvalidInput, match="the noise is too narrow for it. Take a larger `sigma`"):
        mf.log_integral(
            lambda x, t: -0.5 * (t / 1e-9) ** 2 + 0 * x[:, :1], np.ones((1, 2)), -1, 1, 1e-3, most=2**14
        )
    lopsided = mf.Ellipsoid(np.diag([1.0, 2.0, 3.0]), m.mu @ np.eye(2, 3), m.kappa)
    with pytest.raises(InvalidInput, match="known here for k = 2 only"):
        lopsided.log_density(np.ones((1, 3)), 0.1)
    with pytest.raises(InvalidInput, match="curves and for spheres"):
        lopsided.expected_curvature()
    many = mf.Ellipsoid(
        np.eye(2), ref.normalize(rng_of(0).standard_normal((4, 2))), np.array([1.0, 9.0, 2.0, 5.0])
    )
    with pytest.raises(InvalidInput, match="affinely independent rows, at most 3"):
        many.svae()
    with pytest.raises(InvalidInput, match="`errors` must be positive"):
        ed.slope([0.1, 0.2], [1.0, 0.0])


def test_the_scores_of_spheres_are_the_production_ones():
    m = mf.sphere()
    x = m.sample(5, 0.1, 0)
    got = ed.log_densities(m, x, 0.1, ["exact", "original"])
    np.testing.assert_array_equal(
        got["exact"], scores.score(m.svae(), x, "corrected", sigma2=0.1**2, backend="numpy")
    )
    want = scores.score(m.svae(), x, "proposed", sigma2=0.1**2, convention=ORIGINAL, backend="numpy")
    np.testing.assert_array_equal(got["original"], want)
    assert EXACT.volume_weight == 1
