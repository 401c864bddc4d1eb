"""Scores of any PyTorch model: closed forms, invariances, two paths that agree, and modules that are refused."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from closeness import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.exceptions import NotFittedError
from torch import nn
from torch.nn import functional as F

import pyscore
from pyscore import reference
from pyscore.detectors import decoders
from pyscore.detectors.decoders import AGREEMENT
from pyscore.detectors.manifold import MANIFOLD_SCORES, ManifoldScorer
from pyscore.detectors.priors import GaussianMixture, UniformSphere, VMFMixture
from pyscore.detectors.recognise import ACTIVATIONS
from pyscore.errors import BackendUnavailable, InvalidInput, NumericalWarning
from pyscore.kernels import cpu
from pyscore.reference import network
from pyscore.scoring.scores import SCORES

seeds = st.integers(0, 2**32 - 1)
EPS = float(np.finfo(float).eps)


class Wrapped(nn.Module):
    """The same function, not recognised."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, a):
        return self.inner(a)


def linear(weight, bias=None):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).double()
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.as_tensor(bias))
    return layer


def rotation(rng, k):
    q, r = np.linalg.qr(rng.standard_normal((k, k)))
    return q * np.sign(np.diag(r))


def mlp(sizes, activation=nn.SiLU, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(sizes[0], sizes[1])]
    for inputs, outputs in itertools.pairwise(sizes[1:]):
        layers += [activation(), nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers)


def linear_case(seed, d=6, k=3):
    """Decoder weights with singular values in [½, 2], a mean, and rows near the manifold."""
    rng = np.random.default_rng(seed)
    weight = rotation(rng, d)[:, :k] @ np.diag(rng.uniform(0.5, 2, k)) @ rotation(rng, k)
    mean = rng.standard_normal(d)
    x = rng.standard_normal((20, k)) @ weight.T + mean + 0.1 * rng.standard_normal((20, d))
    return weight, mean, x


# ── closed forms ─────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=10)
@given(seed=seeds, log_sigma2=st.floats(-12, 0))
def test_a_linear_decoder_is_probabilistic_pca(seed, log_sigma2):
    weight, mean, x = linear_case(seed)
    sigma2 = np.exp(log_sigma2)
    scores = ManifoldScorer(linear(weight, mean), sigma2=sigma2).fit(x).score_table(x)
    covariance = weight @ weight.T + sigma2 * np.eye(6)
    exact = stats.multivariate_normal(mean, covariance).logpdf(x)
    size = np.sum((x - mean) ** 2, axis=1) / sigma2 + 6 * (2 + abs(log_sigma2))
    rounding = 64 * EPS * np.linalg.cond(covariance) * size
    assert (np.abs(scores["corrected"] - exact) <= rounding).all()
    # `proposed` has N(z; 0, I) for N(z; 0, I + σ²(JᵀJ)⁻¹): with r = σ²/s² the difference is ½ Σ log(1+r) − c²r/(1+r),
    # c = Vᵀz, and so at most ½ Σ r (1 + c²).
    _, s, vt = np.linalg.svd(weight)
    code = (x - mean) @ np.linalg.pinv(weight).T @ vt.T
    bound = 0.5 * np.sum(sigma2 / s**2 * (1 + code**2), axis=1)
    assert (np.abs(scores["proposed"] - exact) <= bound + rounding).all()


def test_the_error_of_proposed_vanishes_with_the_noise():
    weight, mean, x = linear_case(5)
    worst = []
    for sigma2 in (1e-1, 1e-3, 1e-5):
        got = ManifoldScorer(linear(weight, mean), sigma2=sigma2).fit(x).score_samples(x)
        exact = stats.multivariate_normal(mean, weight @ weight.T + sigma2 * np.eye(6)).logpdf(x)
        worst.append(np.abs(got - exact).max())
    assert worst[0] > 50 * worst[1] > 2500 * worst[2]


class Flow(nn.Module):
    """x = A sinh(z) + b: a flow with a density in closed form."""

    def __init__(self, matrix, shift):
        super().__init__()
        self.affine = linear(matrix, shift)

    def forward(self, z):
        return self.affine(torch.sinh(z))

    def inverse(self, x):
        return torch.asinh(torch.linalg.solve(self.affine.weight, (x - self.affine.bias).T).T)


def flow_case(seed, k=3):
    rng = np.random.default_rng(seed)
    matrix = rotation(rng, k) @ np.diag(rng.uniform(0.3, 3, k)) @ rotation(rng, k)
    flow = Flow(matrix, rng.standard_normal(k))
    z = 1.5 * rng.standard_normal((30, k))
    with torch.no_grad():
        x = flow(torch.as_tensor(z)).numpy()
    log_slopes = np.log(np.cosh(z)).sum(axis=1) + np.linalg.slogdet(matrix)[1]
    exact = stats.norm.logpdf(z).sum(axis=1) - log_slopes
    condition = np.linalg.cond(matrix) * np.cosh(z).max(axis=1) / np.cosh(z).min(axis=1)
    return flow, x, exact, condition


@settings(max_examples=10)
@given(seed=seeds)
def test_a_flow_is_the_case_of_as_many_latents_as_features(seed):
    flow, x, exact, condition = flow_case(seed)
    scorer = ManifoldScorer(flow, flow.inverse).fit(x)
    assert (scorer.normal_dim_, scorer.sigma2_) == (0, None)
    assert_close(scorer.score_samples(x), exact, k=64, scale=condition * (1 + np.abs(exact)))
    assert (scorer.score_terms(x, "proposed")["log_likelihood"] == 0).all()


@settings(max_examples=5)
@given(seed=seeds)
def test_a_flow_without_its_inverse_is_inverted_by_projection(seed):
    flow, x, exact, condition = flow_case(seed)
    scorer = ManifoldScorer(flow, latent_dim=3).fit(x)
    # The projection stops where ½‖e‖² is at rounding level, √eps of the size of the data, in units of which
    # z is off by √eps·cond at most.
    error = np.abs(scorer.score_samples(x) - exact)
    assert (error <= 64 * np.sqrt(EPS) * condition * (1 + np.abs(exact))).all()


def test_rows_that_a_flow_does_not_reach_have_no_density():
    scorer = ManifoldScorer(lambda z: torch.tanh(z), latent_dim=2).fit([[0.1, 0.2]])
    with pytest.warns(NumericalWarning):
        got = scorer.score_samples([[0.5, -0.5], [0.5, 1.7]])
    assert np.isfinite(got[0])
    assert got[1] == -np.inf


def test_sphere_in_space_has_the_uniform_density(rng):
    # f(z) = 3z maps the unit sphere to one of radius 3: area 4π·9; the normal direction is the radius.
    x = 3 * reference.normalize(rng.standard_normal((40, 3))) * rng.uniform(0.9, 1.1, (40, 1))
    scorer = ManifoldScorer(linear(3.0 * np.eye(3)), prior="sphere", sigma2=0.01).fit(x)
    radius = np.linalg.norm(x, axis=1)
    exact = -np.log(36 * np.pi) + stats.norm.logpdf(radius, 3, 0.1)
    assert (scorer.manifold_dim_, scorer.normal_dim_) == (2, 1)
    for name in ("proposed", "projected", "corrected"):
        assert_close(scorer.score_table(x)[name], exact, k=256, scale=1 + np.abs(exact))


# ── σ² ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("prior", "normal"), [("normal", 3), ("sphere", 4)])
def test_sigma2_of_the_residuals(prior, normal):
    rng = np.random.default_rng(7)
    weight, mean = rotation(rng, 6)[:, :3], rng.standard_normal(6)
    z = rng.standard_normal((20_000, 3))
    z = reference.normalize(z) if prior == "sphere" else z
    x = z @ weight.T + mean + 0.05 * rng.standard_normal((20_000, 6))
    scorer = ManifoldScorer(
        linear(weight, mean),
        lambda x: norm_of((x - torch.as_tensor(mean)) @ torch.as_tensor(weight), prior),
        prior,
    )
    scorer.fit(x)
    assert scorer.normal_dim_ == normal
    # σ̂²/σ² is χ² with n·normal degrees of freedom over their number (for the sphere to order σ² of its curvature).
    assert abs(scorer.sigma2_ / 0.0025 - 1) < 5 * np.sqrt(2 / (20_000 * normal)) + (
        0.0025 if prior == "sphere" else 0
    )


def norm_of(z, prior):
    return F.normalize(z, dim=1) if prior == "sphere" else z


# ── invariances ──────────────────────────────────────────────────────────────────────────────────────────


def nonlinear(seed, k=3, d=6):
    rng = np.random.default_rng(seed)
    decoder, encoder = mlp((k, 16, d), nn.Tanh, seed % 1000).double(), mlp((d, 16, k), nn.Tanh, 1).double()
    return rng, decoder, encoder, rng.standard_normal((15, d))


def assert_same_scores(one, other, x, names, k=256):
    left, right = one.score_table(x, names), other.score_table(x, names)
    jacobian = one._decoder.jacobian(one.encode(x))
    condition = np.linalg.cond(jacobian)[:, None]
    assert_close(left.to_numpy(), right.to_numpy(), k=k, scale=condition * (1 + np.abs(left.to_numpy())))


BASE = ["reconstruction", "prior", "joint", "jacobian_decoder", "proposed"]


@settings(max_examples=8)
@given(seed=seeds)
def test_rotating_the_codes_changes_no_score(seed):
    rng, decoder, encoder, x = nonlinear(seed)
    q = torch.as_tensor(rotation(rng, 3))
    plain = ManifoldScorer(decoder, encoder, sigma2=0.5).fit(x)
    rotated = ManifoldScorer(lambda z: decoder(z @ q), lambda x: encoder(x) @ q.T, sigma2=0.5).fit(x)
    assert_same_scores(plain, rotated, x, BASE)


@settings(max_examples=8)
@given(seed=seeds)
def test_rotating_codes_on_the_sphere_changes_no_score(seed):
    rng, decoder, encoder, x = nonlinear(seed)
    q = rotation(rng, 3)
    mu, kappa, t = reference.normalize(rng.standard_normal((2, 3))), [5.0, 20.0], torch.as_tensor(q)
    unit = lambda x: F.normalize(encoder(x), dim=1)  # noqa: E731
    plain = ManifoldScorer(decoder, unit, VMFMixture(mu, kappa), sigma2=0.5).fit(x)
    moved = VMFMixture(mu @ q.T, kappa)
    rotated = ManifoldScorer(lambda z: decoder(z @ t), lambda x: unit(x) @ t.T, moved, sigma2=0.5).fit(x)
    assert_same_scores(plain, rotated, x, BASE)


class SinhPrior:
    """Density of u where sinh(u) has a density: a user's own prior."""

    spherical = False

    def __init__(self, prior):
        self.prior, self.dim = prior, prior.dim

    def log_density(self, u):
        return self.prior.log_density(np.sinh(u)) + np.log(np.cosh(u)).sum(axis=1)

    def sample(self, n, rng):
        return np.arcsinh(self.prior.sample(n, rng))


@settings(max_examples=8)
@given(seed=seeds)
def test_other_coordinates_of_the_codes_leave_proposed_unchanged(seed):
    rng, decoder, encoder, x = nonlinear(seed)
    factor = rng.standard_normal((3, 3))
    prior = GaussianMixture(rng.standard_normal((1, 3)), (factor @ factor.T + np.eye(3))[None])
    plain = ManifoldScorer(decoder, encoder, prior, sigma2=0.5).fit(x)
    other = ManifoldScorer(
        lambda u: decoder(torch.sinh(u)), lambda x: torch.asinh(encoder(x)), SinhPrior(prior), sigma2=0.5
    ).fit(x)
    assert_same_scores(plain, other, x, ["reconstruction", "jacobian_decoder", "proposed"], k=1024)
    assert np.abs(plain.score_table(x, ["prior"]) - other.score_table(x, ["prior"])).to_numpy().max() > 1e-3


# ── two paths ────────────────────────────────────────────────────────────────────────────────────────────


def softplus():
    """nn.Softplus that is softplus in float64, too: its default turns linear at 20."""
    return nn.Softplus(threshold=40)


def agree(activation, prior, dtype, seed=0):
    """Compare the terms of a recognised MLP with those of the same one behind a wrapper."""
    make = softplus if activation is nn.Softplus else activation
    decoder, k, d = mlp((4, 24, 24, 9), make, seed), 4, 9
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((33, d)).astype(dtype).astype(float)
    codes = torch.as_tensor(rng.standard_normal((d, k)))

    def encoder(x):
        z = x.double() @ codes
        return norm_of(z, prior)

    scorers = [
        ManifoldScorer(net, encoder, prior, sigma2=0.5, dtype=dtype).fit(x) for net in (decoder, Wrapped(decoder))
    ]
    assert [s.path for s in scorers] == ["compiled", "torch.func"]
    compiled, general = (s.score_terms(x, ["proposed"]) for s in scorers)
    assert np.array_equal(compiled["log_prior"], general["log_prior"])

    layers = [network.Dense(m.weight.detach().double().numpy(), m.bias.detach().double().numpy())
              for m in decoder if isinstance(m, nn.Linear)]  # fmt: skip
    name = ACTIVATIONS[activation][0]
    z = scorers[0].encode(x)
    x_hat, jacobian = network.mlp_jacobian(z, layers, name)
    s = np.linalg.svd(jacobian @ reference.tangent_frame(z) if prior == "sphere" else jacobian, compute_uv=False)
    eps = np.finfo(dtype).eps
    volume_error = np.abs(compiled["decoder_volume"] - general["decoder_volume"]).to_numpy()
    assert (volume_error <= AGREEMENT * eps * s[:, 0] / s[:, -1] * k).all()
    # An error of 32·eps·|W||a| in each x̂ (`TOLERANCE` of kernels/cpu/mlp.py) moves ½‖x − x̂‖²/σ² by Σ|x − x̂|/σ² times it.
    magnitude = max(np.abs(w).sum(axis=1).max() + np.abs(b).max() for w, b in layers) * (1 + np.abs(z).max())
    error = np.abs(compiled["log_likelihood"] - general["log_likelihood"]).to_numpy()
    assert (error <= 64 * eps * magnitude * np.abs(x - x_hat).sum(axis=1) / 0.5).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("prior", ["normal", "sphere"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS), ids=lambda a: a.__name__)
def test_compiled_and_torch_func_agree(activation, prior, dtype):
    agree(activation, prior, dtype)


def test_a_perturbed_kernel_is_seen(monkeypatch):
    true = cpu.decoder_log_volume

    def off_in_the_twelfth_digit(*args, **options):
        run = true(*args, **options)
        return run._replace(volume=run.volume + 1e-11)

    def off_by_one_direction(layers, activation, z, tangent):
        return true(layers, activation, z, not tangent)

    for wrong in (off_in_the_twelfth_digit, off_by_one_direction):
        monkeypatch.setattr(decoders.cpu, "decoder_log_volume", wrong)
        with pytest.raises(AssertionError):
            agree(nn.SiLU, "sphere", "float64")


def test_the_path_is_said_with_its_reason(rng):
    x = rng.standard_normal((10, 6))
    decoder = mlp((2, 8, 6))
    scorer = ManifoldScorer(decoder, mlp((6, 8, 2)), sigma2=1.0).fit(x)
    assert (scorer.path, scorer.encoder_path) == ("compiled", "compiled")
    assert "'swish'" in scorer.path_reason
    scorer = ManifoldScorer(Wrapped(decoder), latent_dim=2, sigma2=1.0).fit(x)
    assert (scorer.path, scorer.encoder_path) == ("torch.func", None)
    assert "Wrapped" in scorer.path_reason


# ── modules as users have them ───────────────────────────────────────────────────────────────────────────


class ConvVAE(nn.Module):
    """Images in and out, batch normalisation, in-place activations, a skip connection, a tuple from the encoder."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        )
        self.heads = nn.Linear(64, 6)
        self.up = nn.Linear(3, 64)
        self.out = nn.Sequential(
            nn.ConvTranspose2d(4, 4, 2, stride=2), nn.BatchNorm2d(4), nn.SiLU(), nn.Conv2d(4, 1, 3, padding=1)
        )

    def encode(self, x):
        return self.heads(self.down(x).flatten(1)).chunk(2, dim=1)

    def decode(self, z):
        a = F.elu(self.up(z), inplace=True).view(z.shape[0], 4, 4, 4)
        return self.out(a + torch.roll(a, 1, dims=2))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((12, 1, 8, 8))


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    vae = ConvVAE()
    vae.encode(torch.rand(50, 1, 8, 8))  # running statistics
    vae.decode(torch.randn(50, 3))
    return vae


def test_a_convolutional_vae_by_its_methods(vae, images):
    scorer = ManifoldScorer(vae.decode, vae.encode).fit(images)
    assert vae.training  # the user's module is as it was
    assert next(vae.parameters()).dtype == torch.float32
    assert scorer.path == "torch.func"
    table = scorer.score_table(images)
    assert list(table) == list(MANIFOLD_SCORES)
    assert np.isfinite(table.to_numpy()).all()
    assert_close(
        scorer.score_samples(images.reshape(12, 64)), table["proposed"], k=16, scale=np.abs(table["proposed"])
    )
    assert_close(scorer.decision_function(images), -table["proposed"], k=0)
    # Its Jacobian, row by row, by central differences.
    z, h = scorer.encode(images), 1e-6
    change = [(scorer.decode(z + h * e) - scorer.decode(z - h * e)) / (2 * h) for e in np.eye(3)]
    assert np.abs(scorer._decoder.jacobian(z) - np.stack(change, axis=2)).max() < 1e-8


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_blocks_of_rows_change_nothing_and_bound_memory(vae, images, dtype, monkeypatch):
    scorer = ManifoldScorer(vae.decode, vae.encode, sigma2=0.1, dtype=dtype).fit(images)
    whole = scorer.score_terms(images, "proposed")
    seen = []
    true = decoders.TorchMap._evaluate
    monkeypatch.setattr(decoders.TorchMap, "_evaluate", lambda self, a: seen.append(len(a)) or true(self, a))
    monkeypatch.setattr(decoders, "BLOCK_BYTES", 20_000)
    parts = scorer.score_terms(images, "proposed")
    assert sum(seen) == 24  # encoder and decoder, both
    assert seen.count(12) <= 1  # the decoder's tangents in blocks; the encoder, which has none, in one
    assert_close(parts, whole, k=512, scale=1 + np.abs(whole), dtype=dtype)


def test_terms_sum_to_scores_which_are_those_of_pyscore(rng):
    x = rng.standard_normal((20, 6))
    scorer = ManifoldScorer(mlp((2, 8, 6)), mlp((6, 8, 2)), sigma2=0.7).fit(x)
    terms, table = scorer.score_terms(x), scorer.score_table(x)
    assert isinstance(terms, pd.DataFrame)
    for name, columns in MANIFOLD_SCORES.items():
        assert SCORES[name].terms == columns
        assert_close(table[name], terms[list(columns)].sum(axis=1), k=2, scale=np.abs(terms).sum(axis=1))
    assert_close(scorer.score_samples(x), table["proposed"], k=0)
    projected = scorer.score_table(x, "projected")["projected"]
    assert_close(projected, table["projected"], k=1e3, scale=np.abs(projected))


def test_without_an_encoder_proposed_is_projected(rng):
    x = rng.standard_normal((20, 6))
    table = ManifoldScorer(mlp((2, 8, 6)), sigma2=0.7).fit(x).score_table(x)
    assert np.array_equal(table["proposed"], table["projected"])


def test_a_row_does_not_depend_on_its_batch_to_the_bit_when_compiled(rng):
    x = rng.standard_normal((20, 6))
    scorer = ManifoldScorer(mlp((2, 8, 6)), mlp((6, 8, 2)), sigma2=0.7).fit(x)
    whole = scorer.score_samples(x)
    assert all(scorer.score_samples(x[i : i + 1])[0] == whole[i] for i in range(20))


def test_the_same_seed_gives_the_same_bits(rng):
    x = rng.standard_normal((30, 6))
    runs = [
        ManifoldScorer(mlp((2, 8, 6)), mlp((6, 8, 2)), "gaussian_mixture", n_components=2, seed=3).fit(x)
        for _ in "ab"
    ]
    assert runs[0].score_table(x).equals(runs[1].score_table(x))
    assert runs[0].sigma2_ == runs[1].sigma2_


def test_prior_fitted_to_the_codes(rng):
    x = rng.standard_normal((200, 6))
    scorer = ManifoldScorer(mlp((2, 8, 6)), mlp((6, 8, 2)), "gaussian_mixture", n_components=3).fit(x)
    want = GaussianMixture.fit(scorer.encode(x), 3).log_density(scorer.encode(x))
    assert np.array_equal(scorer.score_terms(x)["log_prior"], want)
    assert "corrected" not in scorer.score_table(x)
    with pytest.raises(InvalidInput, match="'corrected' is defined for"):
        scorer.score_table(x, ["corrected"])


def test_no_rows_give_no_scores(vae, images):
    scorer = ManifoldScorer(vae.decode, vae.encode).fit(images)
    assert scorer.score_table(images[:0]).shape == (0, len(MANIFOLD_SCORES))
    assert ManifoldScorer(mlp((2, 8, 6))).fit(np.eye(6)).score_samples(np.zeros((0, 6))).shape == (0,)


def test_a_singular_row_is_the_most_anomalous():
    # f(z) = (z², z³): the cusp at 0 has volume 0.
    scorer = ManifoldScorer(lambda z: torch.cat([z**2, z**3], 1), lambda x: x[:, 1:], sigma2=1.0).fit([[1.0, 1.0]])
    with pytest.warns(NumericalWarning, match="singular"):
        got = scorer.score_samples([[0.0, 0.0], [1.0, 1.0]])
    assert got[0] == -np.inf
    assert np.isfinite(got[1])


def test_a_frozen_copy_is_scored(rng):
    x, decoder = rng.standard_normal((5, 6)), mlp((2, 8, 6))
    scorer = ManifoldScorer(decoder, sigma2=1.0).fit(x)
    before = scorer.score_samples(x)
    nn.init.zeros_(decoder[0].weight)
    assert np.array_equal(scorer.score_samples(x), before)


def test_exported():
    assert pyscore.ManifoldScorer is ManifoldScorer


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────


class OddPrior(UniformSphere):
    def __init__(self, drawn=(1024, 2), density=(1024,)):
        super().__init__(2)
        self.drawn, self.density = drawn, density

    def sample(self, n, rng):
        return np.ones(self.drawn)

    def log_density(self, z):
        return np.ones(self.density)


class Random(nn.Module):
    def forward(self, z):
        return F.dropout(torch.cat([z, z], dim=1), 0.5, training=True)


class BatchStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2, track_running_stats=False)

    def forward(self, z):
        return torch.cat([self.norm(z), z], dim=1)


def weight_normed():
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(nn.Linear(2, 4))


TRAINING = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)).double().train()
X = np.random.default_rng(0).standard_normal((10, 4))
DECODER = mlp((2, 8, 4))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (lambda: {"decoder": Random(), "latent_dim": 2}, "`decoder` gives the same row another result each time"),
        (lambda: {"decoder": BatchStatistics(), "latent_dim": 2}, "`decoder` for a row depends on the other rows"),
        (lambda: {"decoder": lambda z: TRAINING(z), "latent_dim": 2}, "depends on the other rows of its batch"),
        (lambda: {"encoder": lambda x: torch.randn(len(x), 2)}, "`encoder` gives the same row another result"),
        (lambda: {"encoder": lambda x: x[:, :2] - x[:, :2].mean(0)}, "`encoder` for a row depends on the other"),
        (lambda: {"decoder": lambda z: z.sum(), "latent_dim": 2}, "one row for each of its"),
        (lambda: {"decoder": lambda z: z.numpy(), "latent_dim": 2}, "must return a tensor"),
        (lambda: {"decoder": lambda z: z @ torch.ones(3, 4), "latent_dim": 2}, "`decoder` failed: RuntimeError"),
        (lambda: {"decoder": lambda z: z * np.nan, "latent_dim": 2}, "`decoder` must return finite numbers"),
        (lambda: {"decoder": mlp((2, 8, 5))}, "must return 4 features a row, as X has; got 5"),
        (lambda: {"decoder": mlp((5, 8, 4))}, "at most as many dimensions as the data, 4; got 5"),
        (lambda: {"decoder": Wrapped(DECODER)}, "`latent_dim` must be given"),
        (lambda: {"latent_dim": 3, "encoder": mlp((4, 2))}, "the same everywhere; got encoder: 2, latent_dim: 3"),
        (lambda: {"decoder": 3}, "must be an nn.Module or a function"),
        (lambda: {"decoder": weight_normed()}, "weight_norm"),
        (lambda: {"encoder": mlp((4, 2)), "prior": "sphere"}, "codes of unit norm"),
        (lambda: {"prior": "gaussian_mixture"}, "need an encoder"),
        (lambda: {"prior": "gauss"}, "`prior` must be one of 'normal'"),
        (lambda: {"prior": object()}, "must be one of .* or have the members"),
        (lambda: {"prior": UniformSphere(3)}, "`decoder` failed"),
        (lambda: {"prior": OddPrior(drawn=(5, 2))}, "`prior.sample` must have shape"),
        (lambda: {"prior": OddPrior(density=(1024, 1))}, "`prior.log_density` must have one axis"),
        (lambda: {"sigma2": -1.0}, "`sigma2` must be a finite number above 0"),
        (lambda: {"sigma2": "guess"}, "`sigma2` must be one of 'residual'"),
        (lambda: {"score": "best"}, "`score` must be one of"),
        (lambda: {"starts": 0}, "`starts` must be an integer of at least 1"),
        (lambda: {"dtype": "float16"}, "`dtype` must be float32 or float64"),
        (lambda: {"event_shape": (2, 3)}, "`X` must have shape .n, 6. or .* as `event_shape` says"),
        (lambda: {"device": "abacus"}, "`device` must be"),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises(InvalidInput, match=text):
        ManifoldScorer(**{"decoder": DECODER, **arguments()}).fit(X)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there():
    with pytest.raises(BackendUnavailable, match="sees no CUDA GPU"):
        ManifoldScorer(DECODER, device="cuda").fit(X)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch sees")
def test_a_gpu_gives_the_same():
    x = np.random.default_rng(0).standard_normal((50, 4))
    here, there = (ManifoldScorer(DECODER, sigma2=0.5, device=d).fit(x) for d in ("cpu", "cuda"))
    assert there.path == "torch.func"
    got, want = there.score_samples(x), here.score_samples(x)
    condition = np.linalg.cond(here._decoder.jacobian(here.encode(x)))
    assert_close(got, want, k=512, scale=condition * (1 + np.abs(want)))


def test_bad_rows():
    scorer = ManifoldScorer(DECODER)
    with pytest.raises(NotFittedError, match="not fitted"):
        scorer.score_samples(X)
    scorer.fit(X)
    for rows, text in (
        (X[:, :3], "4 features"),
        (np.full((2, 4), np.nan), "finite"),
        (X[:, :, None], "shape"),
        (X[0], "two axes"),
    ):
        with pytest.raises(InvalidInput, match=text):
            scorer.score_samples(rows)
    bad = (
        (np.zeros((0, 4)), "at least one row"),
        (np.zeros(4), "at least one feature"),
        ([[1], [1, 2]], "lengths"),
    )
    for rows, text in bad:
        with pytest.raises(InvalidInput, match=text):
            ManifoldScorer(DECODER).fit(rows)
    with pytest.raises(NotFittedError):
        ManifoldScorer(DECODER).score_samples(X)


@pytest.mark.parametrize("turned", [False, True], ids=["exactly", "to rounding"])
def test_rows_on_the_manifold_have_no_residual_to_estimate_from(turned):
    basis = (rotation(np.random.default_rng(1), 4) if turned else np.eye(4))[:, :2]
    columns = torch.as_tensor(basis)
    with pytest.raises(InvalidInput, match="can't be estimated"):
        ManifoldScorer(linear(basis), lambda x: x @ columns).fit(X[:, :2] @ basis.T)
