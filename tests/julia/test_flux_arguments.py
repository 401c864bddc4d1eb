"""What people pass to `pyscore.flux`: lists, vectors, columns for rows, one kappa for all; and every original name."""

import inspect
import warnings

import numpy as np
import pytest

from pyscore import reference
from pyscore.backends import flux
from pyscore.convention import ORIGINAL
from pyscore.errors import InvalidInput, ShapeError
from pyscore.reference import sampling
from pyscore.reference.model import SVAE

pytestmark = pytest.mark.julia


@pytest.fixture(scope="module")
def m(julia):
    return flux.SVAEvampmeans(6, 8, 3, 3, "swish", "Dense", 4, np.float64, backend=julia)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(5).normal(size=(5, 6))


@pytest.fixture(scope="module")
def codes(m, x):
    return flux.zparams(m, x)


OF_ROWS = ["zparams", "zfromx", "infer", "log_pxexpectedz", "log_pz", "pz", "log_px", "jacobian_encoder",
           "log_pz_jacobian_encoder", "manifoldz", "correctedjacodeco"]  # fmt: skip
OF_CODES = ["log_pz_from_z", "pz_from_z", "jacobian_decoder", "log_pz_jacobian_decoder"]


def outputs(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("name", OF_ROWS + OF_CODES)
def test_rows_lists_and_single_samples(m, x, codes, name):
    function = getattr(flux, name)
    rows = x if name in OF_ROWS else codes[0]
    whole = outputs(function(m, rows))
    for other in (rows.tolist(), np.asfortranarray(rows), rows[::-1][::-1]):
        assert all(np.array_equal(a, b) for a, b in zip(whole, outputs(function(m, other)), strict=True))
    for single in (rows[0], rows[0].tolist(), tuple(rows[0])):
        for a, b in zip(whole, outputs(function(m, single)), strict=True):
            assert np.shape(b) == a.shape[1:]
            # ADAM descends on the mean over the samples, so that its eps weighs a lone sample otherwise.
            atol = 1e-4 if name in ("manifoldz", "correctedjacodeco") else 1e-12
            np.testing.assert_allclose(b, a[0], rtol=atol, atol=atol)


@pytest.mark.parametrize("name", [*OF_ROWS, *OF_CODES, "q", "g"])
def test_samples_as_columns_are_named(m, x, codes, name):
    latent = name in OF_CODES or name == "g"
    rows = codes[0] if latent else x
    function = getattr(m, name) if name in ("q", "g") else (lambda v: getattr(flux, name)(m, v))
    with pytest.raises(ShapeError, match=r"whose rows are samples.*got shape .* pass .\.T"):
        function(rows.T)
    for wrong in (rows[:, :2], rows[0, :2], rows[None], 3.0):
        with pytest.raises(ShapeError, match="whose rows are samples"):
            function(wrong)


def test_one_kappa_for_all(m, codes):
    mu, _ = codes
    for kappa in (5.0, 5, [5.0], np.float32(5), np.full(5, 5.0), np.full((5, 1), 5.0)):
        assert np.array_equal(flux.samplez(m, mu, kappa), flux.samplez(m, mu, np.full(5, 5.0)))
    assert flux.samplez(m, mu[0], 5.0).shape == (3,)
    with pytest.raises(ShapeError, match="one for each of the 5 rows; got 2"):
        flux.samplez(m, mu, [1.0, 2.0])
    assert flux.log_vmf_c(mu, mu[0], 5.0).shape == flux.log_vmf_wo_c(mu, mu[0], 5.0).shape == (5,)


def test_functions_of_arrays_take_lists_and_vectors(codes):
    mu, kappa = codes
    pairs = [
        (flux.normalizecolumns(mu[0].tolist()), flux.normalizecolumns(mu)[0]),
        (flux.householderrotation(mu[1].tolist(), mu[0].tolist()), flux.householderrotation(mu[1:2], mu[:1])[0]),
        (flux.log_normal(mu[0].tolist()), flux.log_normal(mu)[0]),
        (flux.log_normal(mu.tolist(), mu[0].tolist()), flux.log_normal(mu, np.repeat(mu[:1], 5, axis=0))),
        (flux.log_vmf_c(mu[0].tolist(), mu[0].tolist(), kappa[0]), flux.log_vmf_c(mu, mu, kappa)[0]),
        (flux.log_vmf_wo_c(mu.tolist(), mu.tolist(), kappa.tolist()), kappa * np.sum(mu * mu, axis=1)),
        (flux.vmfentropy(3, kappa.tolist()), flux.vmfentropy(3, kappa)),
        (flux.pairwisecos(mu[0].tolist(), mu.tolist()), flux.pairwisecos(mu)[:1]),
        (flux.k_imq(mu.tolist(), 0.1), flux.k_imq(mu, 0.1)),
        (flux.mmd_imq(mu.tolist(), mu[:3].tolist(), 0.1), flux.mmd_imq(mu, mu[:3], 0.1)),
    ]
    for got, want in pairs:
        np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-15)
    assert flux.k_imq(mu[0], 0.1) == 0.0
    # Of one sample the original has k(x, c) = 0.
    alone = flux.k_imq(mu, 0.1) - 2 * flux.k_imq(mu[0], mu, 0.1)
    np.testing.assert_allclose(flux.mmd_imq(mu[0], mu, 0.1), alone)
    with pytest.raises(InvalidInput, match=r"takes \(x, c\) or \(x, y, c\)"):
        flux.k_imq(mu)


def test_fields_of_the_original(m, x, codes):
    hidden = m.q(x)
    np.testing.assert_allclose(m.μzfromhidden(hidden), codes[0], atol=1e-15)
    np.testing.assert_allclose(m.κzfromhidden(hidden), codes[1], atol=1e-13)
    assert m.pseudo_inputs.shape == (4, 6)
    assert m.zdim == 3


def test_the_missing_names(m, x, codes, julia):
    mu, _ = codes
    np.testing.assert_allclose(flux.pz_from_z(m, mu), np.exp(flux.log_pz_from_z(m, mu)))
    J = flux.jacobian_decoder(m, mu)
    volume = 2 * np.sum(np.log(np.linalg.svd(J, compute_uv=False) + 1e-6), axis=1)
    want = flux.log_normal(mu) + flux.log_pxexpectedz(m, x, mu) - volume
    np.testing.assert_allclose(flux.jacodeco(m, x, mu), want, rtol=1e-9)
    np.testing.assert_allclose(flux.jacodeco(m, x[1], mu[1]), want[1], rtol=1e-9)
    points = flux.samplehsuniform(2000, 3, seed=1)
    np.testing.assert_allclose(np.sum(points**2, axis=1), 1)
    assert np.all(np.abs(points.mean(axis=0)) < 0.06)
    null, width = flux.null_distr_distances(m, 50)
    assert null.shape == (100,)
    assert np.all(np.diff(null) >= 0)
    assert 1e-10 <= width <= 100
    assert flux.mmdpval(null, null[0]) == 0.01
    assert flux.mmdpval(null, np.inf) == 1.01
    with pytest.raises(ShapeError, match="a code for each of the 5 rows"):
        flux.jacodeco(m, x, mu[:2])


def test_kldiv_keeps_the_type(julia32):
    single = flux.SVAEvampmeans(6, 8, 3, 3, "swish", "Dense", 4, np.float32, backend=julia32)
    assert flux.kldiv(single, np.float32([1, 2])).dtype == np.float32
    double = reference.vmf_kl(np.array([1.0, 2.0]), 3)
    np.testing.assert_allclose(flux.kldiv(single, [1, 2]), double, rtol=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 12345678901])
def test_draws_are_those_of_python(m, julia, julia32, close, seed):
    """Julia's own generators differ between its versions; these are counted, and the same in both languages."""
    for backend, eps in ((julia, 2.3e-16), (julia32, 1.2e-7)):
        model = m.model.astype(backend.dtype)
        mu, kappa = model.encode_pseudo_inputs(convention=ORIGINAL)
        draws = sampling.TrainingDraws(seed, 0)
        components = draws.components(4, 301)
        drawn = draws.vmf(kappa[components], 3)
        want = reference.sample_vmf(mu[components], kappa[components], *drawn, convention=ORIGINAL)
        got = backend.call("draw_prior", model, 301, seed, convention=ORIGINAL)
        # √(1−w²) amplifies rounding where w nears 1.
        close(got, want, 64, eps, 100.0, f"prior, seed {seed}")
    assert not np.array_equal(flux.sampleVamp(m, 9, seed=seed), flux.sampleVamp(m, 9, seed=seed + 1))


def test_other_activations_have_their_original_names(julia):
    named = flux.SVAEvampmeans(6, 8, 3, 3, "leakyrelu", "Dense", 4, backend=julia)
    assert named.model.activation == "leaky_relu"


def test_every_function_is_documented():
    for name in flux.__all__:
        assert inspect.getdoc(getattr(flux, name)), name
    text = inspect.getdoc(flux)
    original = ["SVAEbase", "SVAEtwocaps", "SVAEvamp", "VAE", "VAE_ard", "x_from_z", "elbo_loss", "elbo_loss_ard",
                "decomposed_elbo_loss", "rloss", "printing_wloss", "mem_wloss", "log_det_jacobian_encoder",
                "log_det_jacobian_decoder", "hsplit1softp", "VAEvamp", "add_labeled_centroid!"]  # fmt: skip
    assert [name for name in original if name not in text] == []


def test_progress_messages_and_warnings_arrive(own):
    heard = []
    own.worker.progress = lambda text, part: heard.append((text, part))
    with pytest.warns(UserWarning, match="a warning"):
        own.call("report", 4)
    assert heard[:4] == [("reporting", i / 4) for i in (1, 2, 3, 4)]
    assert heard[4][0] == "a message"
    assert np.isnan(heard[4][1])


def test_a_large_model_is_projected_with_progress(own):
    """A call of more than a second says how far it is."""
    heard = []
    own.worker.progress = lambda text, part: heard.append((text, part))
    model = SVAE.initialise(30, 9, 64, 4, dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(1500, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own.call("project", model, x, model.encode(x)[0])
    assert {text for text, _ in heard} == {"project"}
    assert all(0 < part <= 1 for _, part in heard)
