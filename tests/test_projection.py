"""The nearest point of a manifold, against closed forms and dense searches."""

import numpy as np
import pytest
import torch
from closeness import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pyscore import ManifoldScorer
from pyscore.detectors import decoders
from pyscore.detectors import nearest_points as projection

seeds = st.integers(0, 2**32 - 1)
EPS = float(np.finfo(float).eps)


def parabola(z):
    return torch.cat([z**2, z], dim=1)


def nearest_on_parabola(x):
    """min over the real roots of d/dz ‖x − (z², z)‖² = 4z³ + 2(1 − 2x₁)z − 2x₂."""
    best = []
    for a, b in x:
        roots = np.roots([4.0, 0.0, 2 - 4 * a, -2 * b])
        real = roots[np.abs(roots.imag) < 1e-6].real
        best.append(np.sqrt(np.min((a - real**2) ** 2 + (b - real) ** 2)))
    return np.array(best)


@settings(max_examples=6)
@given(seed=seeds, spread=st.floats(0.1, 6))
def test_nearest_point_of_the_parabola(seed, spread):
    x = spread * np.random.default_rng(seed).standard_normal((30, 2))
    found = ManifoldScorer(parabola, latent_dim=1, sigma2=1.0).fit(x).project(x)
    # The distance is flat at its minimum: an error of √eps in the root is one of eps in the distance.
    assert_close(found.residual, nearest_on_parabola(x), k=64, scale=1 + np.linalg.norm(x, axis=1) ** 2)
    assert (found.gradient_norm < 1e-6 * (1 + spread) ** 2).all()


@settings(max_examples=6)
@given(seed=seeds)
def test_nearest_point_of_an_ellipse(seed):
    rng = np.random.default_rng(seed)
    x, axes = 2 * rng.standard_normal((20, 3)), rng.uniform(0.3, 2.0, (3, 2))
    matrix = torch.as_tensor(axes)
    found = ManifoldScorer(lambda z: z @ matrix.T, prior="sphere", latent_dim=2, sigma2=1.0).fit(x).project(x)
    assert_close(np.linalg.norm(found.z, axis=1), np.ones(20), k=4)
    angle = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) @ axes.T
    search = np.linalg.norm(x[:, None] - ring, axis=2).min(axis=1)
    assert (found.residual <= search + 64 * EPS).all()  # the search can only be worse, by its step
    assert (found.residual >= search - np.linalg.norm(axes) * (2 * np.pi / 20_000)).all()


def networks(seed, k=3, d=8):
    torch.manual_seed(seed)
    decoder = nn.Sequential(nn.Linear(k, 16), nn.SiLU(), nn.Linear(16, d)).double()
    return decoder, nn.Sequential(nn.Linear(d, 16), nn.SiLU(), nn.Linear(16, k)).double()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("steps", [1, 100])
def test_never_worse_than_the_encoder(steps, dtype, rng):
    for seed in range(5):
        decoder, encoder = networks(seed)
        x = 2 * rng.standard_normal((40, 8))
        scorer = ManifoldScorer(decoder, encoder, sigma2=1.0, starts=1, steps=steps, dtype=dtype).fit(x)
        encoded = np.linalg.norm(x - scorer.decode(scorer.encode(x)), axis=1)
        eps = np.finfo(dtype).eps
        assert (scorer.project(x).residual <= encoded + 64 * eps * np.linalg.norm(x, axis=1)).all()


def test_more_starts_are_never_worse_and_some_are_better(rng):
    x = 3 * rng.standard_normal((200, 8))
    decoder = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 8)).double()
    nn.init.normal_(decoder[0].weight, std=3.0, generator=torch.Generator().manual_seed(1))
    one, many = (ManifoldScorer(decoder, sigma2=1.0, starts=s).fit(x).project(x) for s in (1, 8))
    assert np.mean(many.residual < one.residual - 1e-6) > 0.2
    assert many.residual.mean() < one.residual.mean()


@pytest.mark.parametrize("path", ["compiled", "torch.func"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scale_of_the_data_does_not_matter(scale, path, rng):
    decoder, _ = networks(0)
    with torch.no_grad():
        for parameter in decoder[2].parameters():
            parameter *= scale
    x = scale * rng.standard_normal((30, 8))
    wrapped = decoder if path == "compiled" else (lambda z: decoder(z))
    scorer = ManifoldScorer(wrapped, latent_dim=3, sigma2=1.0).fit(x)
    assert scorer.path == path
    found = scorer.project(x)
    assert (found.iterations < 100).all()
    assert (found.gradient_norm < 1e-8 * scale**2).all()


def test_a_row_does_not_depend_on_its_batch(rng):
    decoder, _ = networks(3)
    x = rng.standard_normal((12, 8))
    scorer = ManifoldScorer(decoder, sigma2=1.0).fit(x)
    together = scorer.project(x)
    for i in range(12):
        assert_close(scorer.project(x[i : i + 1]).residual[0], together.residual[i], k=64)


def test_blocks_change_nothing(rng, monkeypatch):
    decoder, _ = networks(4)
    x = rng.standard_normal((25, 8))
    scorer = ManifoldScorer(decoder, sigma2=1.0).fit(x)
    whole = scorer.project(x)
    monkeypatch.setattr(projection, "BLOCK_NUMBERS", 500)
    assert_close(scorer.project(x).residual, whole.residual, k=64)


@pytest.mark.parametrize("path", ["compiled", "torch.func"])
def test_bend_is_the_derivative_of_the_gradient(path, rng):
    decoder, _ = networks(5)
    scorer = ManifoldScorer(decoder if path == "compiled" else (lambda z: decoder(z)), latent_dim=3, sigma2=1.0)
    f = scorer.fit(rng.standard_normal((5, 8)))._decoder
    z, weights, h = rng.standard_normal((6, 3)), rng.standard_normal((6, 8)), 1e-5
    bend = f.bend(z, weights)
    for i in range(3):
        step = h * np.eye(3)[i]
        change = (f.jacobian(z + step) - f.jacobian(z - step)) / (2 * h)
        # A central difference: h²/6 of the third derivative, and eps/h of rounding.
        assert np.abs(np.einsum("ndk,nd->nk", change, weights) - bend[:, :, i]).max() < 100 * (h**2 + EPS / h)


def test_a_wrong_curvature_is_slower_but_finds_the_same(rng, monkeypatch):
    # What the steps are made of can't change the minimum: that a step lowers the distance is checked.
    decoder, _ = networks(6)
    x = rng.standard_normal((20, 8))
    scorer = ManifoldScorer(decoder, sigma2=1.0).fit(x)
    right = scorer.project(x)
    monkeypatch.setattr(decoders.CompiledMap, "bend", lambda self, z, w: np.zeros((len(z), 3, 3)))
    gauss_newton = scorer.project(x)
    assert gauss_newton.iterations.mean() > right.iterations.mean()
    done = gauss_newton.gradient_norm < 1e-6  # linear convergence: some are still on their way
    assert done.mean() > 0.5
    assert (gauss_newton.residual[done] <= right.residual[done] + 1e-10).all()


def test_a_wrong_gradient_is_seen(rng, monkeypatch):
    x = rng.standard_normal((20, 2))
    scorer = ManifoldScorer(parabola, latent_dim=1, sigma2=1.0).fit(x)
    monkeypatch.setattr(decoders.TorchMap, "jacobian", lambda self, z: np.ones((len(z), 2, 1)))
    with pytest.raises(AssertionError, match="eps"):
        assert_close(scorer.project(x).residual, nearest_on_parabola(x), k=64, scale=1 + np.sum(x**2, axis=1))
