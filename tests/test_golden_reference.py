"""The reference under ORIGINAL against what the original Julia code returned.

Every bound is K times the spread of the reference under random rounding to the type that Julia computed in, at the
recorded inputs (`closeness.assert_conditioned`). Each function gets the original's own inputs, not inherited errors.
"""

import dataclasses

import golden_files as golden
import numpy as np
import pytest
from closeness import assert_close, assert_conditioned

from pyscore import reference
from pyscore.backends import get_backend
from pyscore.backends.contract import BY_NAME
from pyscore.backends.stochastic import K
from pyscore.convention import ORIGINAL
from pyscore.reference import sampling

MODELS = golden.cases("model_") + [c for c in golden.cases("trained_") if "functions" in c]


@pytest.fixture(params=MODELS, scope="module")
def case(request):
    """Arrays, model and dtype of a recorded model."""
    return Case(request.param, golden.load(request.param))


class Case:
    def __init__(self, name, arrays):
        self.name, self.a = name, arrays
        self.model = golden.model(arrays)
        self.dtype = self.model.dtype
        self.k = self.model.latent_dim
        self.x, self.mu, self.kappa = arrays["x"].T, arrays["zparams_mu"].T, arrays["zparams_kappa"][0]
        self.pseudo_mu = arrays["pseudo_mu"].T

    def close(self, want, evaluate, *arguments):
        """`evaluate(*arguments)` is what was recorded."""
        name, want = (want, self.a[want]) if isinstance(want, str) else ("", want)
        wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arguments]
        with reference.precision(self.dtype):
            assert_conditioned(evaluate(*wide), want, evaluate, arguments, self.dtype, f"{self.name}: {name}")


@pytest.mark.parametrize("function", [name for name in BY_NAME if name in golden.CHECKS])
def test_recorded_outputs(case, function):
    golden.assert_recorded(get_backend("numpy"), case.name, function)


def test_mean_squared_error(case):
    case.close("mse", lambda x, x_hat: np.mean((x - x_hat) ** 2), case.x, case.a["g_mu"].T)


def test_jacobians_and_volumes(case):
    n = case.a["jacobian_decoder"].shape[2]
    case.close(case.a["jacobian_decoder"].transpose(2, 0, 1), case.model.decoder_jacobian, case.mu[:n])
    case.close(case.a["jacobian_encoder"].transpose(2, 0, 1), encoder_jacobian(case), case.x[:n])

    def volume(z, mu_u):
        jacobian = case.model.decoder_jacobian(z)
        return reference.log_prior_jacobian_decoder(z, jacobian, mu_u, convention=ORIGINAL)

    case.close("log_pz_jacobian_decoder", volume, case.mu, case.pseudo_mu)


def encoder_jacobian(case):
    return lambda x: case.model.encoder_jacobian(x, convention=ORIGINAL)


def test_encoder_volume_without_its_noise(case):
    """The smallest singular value is rounding noise (Q3): the score is compared with it dropped."""

    def kept(x):
        s = np.linalg.svd(encoder_jacobian(case)(x), compute_uv=False)
        return np.sum(np.log(s[:, :-1]), axis=1)

    def total(s, prior):
        return 2 * np.sum(np.log(s), axis=1) + prior

    s = case.a["sv_encoder"].T
    case.close(np.log(s.astype(float))[:, :-1].sum(axis=1), kept, case.x)
    # What the original adds is twice the sum over all, noise included, plus log_pz.
    case.close("log_pz_jacobian_encoder", total, s, case.a["log_pz_vec"])


def test_vmf(case):
    n = len(case.a["log_vmf_c_vec"])
    codes = case.a["za"].T[:n], case.mu[:n], case.kappa[:n]
    case.close("log_vmf_wo_c_vec", lambda z, mu, kappa: kappa * np.sum(z * mu, axis=1), *codes)
    areas = [reference.uniform_sphere_entropy(k) for k in range(2, 10)]
    assert_close(areas, case.a["huentropy_2_9"], K, np.abs(areas), case.dtype, "a logarithm and a sum")


@pytest.mark.parametrize("draws", ["samplez", "samplez_lowk", "samplez_highk"])
def test_the_recorded_draws_are_accepted(case, draws):
    kappa = {"samplez": case.kappa, "samplez_lowk": 0.05, "samplez_highk": 99.9}[draws]
    kappa = np.broadcast_to(np.asarray(kappa, case.dtype), case.kappa.shape)
    if f"{draws}_z" not in case.a:
        pytest.skip("no draws recorded for this case")
    if case.dtype == np.float32:
        pytest.skip("a proposal at the edge is accepted in Float32 and not in Float64")
    assert sampling.accept_epsilon(case.a[f"{draws}_eps"][0], case.a[f"{draws}_u"][0], kappa, case.k).all()


def test_the_importance_that_was_meant(case):
    """The elementwise sum that the authors probably meant: EXACT plus log n, without q's normaliser."""
    if "log_px" not in case.a or "log_px_term_pz" not in case.a:
        pytest.skip("no draws in this subset")
    likelihood, prior = case.a["log_px_term_pxgivenz"].T, case.a["log_px_term_pz"].T
    n, plain = len(likelihood), dataclasses.replace(ORIGINAL, importance="elementwise")

    def meant(likelihood, prior, q, kappa):
        found = reference.log_importance(likelihood, prior, q / kappa[:, None], kappa, case.k, convention=plain)
        return found + np.log(likelihood.shape[1]) + reference.log_vmf_normaliser(kappa, case.k)

    want = case.a["log_px_intended"]
    finite = want > (-80 if case.dtype == np.float32 else -700)  # exp underflows for far rows (Q26)
    rows = likelihood, prior, case.a["log_px_term_q"].T, case.kappa[:n]
    case.close(want[finite], meant, *(a[finite] for a in rows))
