"""Every public function, given whatever may pass for an array: a right number, or a PyscoreError; nothing else."""

import functools

import numpy as np
import pytest
import torch
from array_likes import array_likes, check_door
from hypothesis import HealthCheck, given, settings
from torch import nn

from pyscore import ManifoldScorer, SVAEDetector
from pyscore import reference as ref
from pyscore._core import net as _net
from pyscore.backends import get_backend
from pyscore.backends._iterations import density_at_mode
from pyscore.convention import EXACT
from pyscore.data.preprocessing import Imputer, Standardiser
from pyscore.detectors import calibration, priors
from pyscore.detectors.baselines import BASELINES
from pyscore.errors import InvalidInput, InvalidType, OutOfMemory
from pyscore.reference.model import SVAE
from pyscore.scoring import scores
from pyscore.scoring.explain import explain
from pyscore.scoring.fitted import FittedModel

SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]
DOORS = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=SLOW)
N, D, K = 6, 4, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, D))
MODEL = SVAE.initialise(D, K, 6, 2, dtype=np.float64)
FITTED = FittedModel(MODEL, Standardiser.fit(X), EXACT, imputer=Imputer(np.zeros(D)))
Z = ref.normalize(RNG.standard_normal((N, K)))
KAPPA = np.linspace(1, 50, N)
TRAIN = np.linspace(-3.0, 3.0, 20)
MIXTURE = priors.GaussianMixture(np.zeros((2, K)), np.tile(np.eye(K), (2, 1, 1)))
VMF = priors.VMFMixture(Z[:2], [1.0, 5.0])
JACOBIAN = RNG.standard_normal((N, D, K))


@functools.cache
def manifold():
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 4), nn.Softsign(), nn.Linear(4, D))
    encoder = nn.Sequential(nn.Linear(D, 4), nn.Softsign(), nn.Linear(4, 2))
    return ManifoldScorer(decoder, encoder, latent_dim=2, starts=1, steps=3).fit(X)


@functools.cache
def detector(impute=None):
    made = SVAEDetector(
        steps=3, hidden_dim=4, batch_size=8, backend="numpy", impute=impute, calibration_fraction=0.2
    )
    return made.fit(X)


# name: (the call, the shape that it wants, whether it returns log-densities)
DENSITIES = {
    "score": (lambda x: scores.score(MODEL, x), (N, D)),
    "score reconstruction": (lambda x: scores.score(MODEL, x, "reconstruction"), (N, D)),
    "score sigma2": (lambda s: scores.score(MODEL, X[:3], sigma2=s), (D,)),
    "FittedModel.scores": (lambda x: FITTED.scores(x, ["proposed"])["proposed"].to_numpy(), (N, D)),
    "torch": (lambda x: scores.score(MODEL, x, backend=get_backend("torch", dtype="float64")), (N, D)),
    "torch float32": (lambda x: scores.score(MODEL, x, backend="torch"), (N, D)),
    "ManifoldScorer.score_samples": (lambda x: manifold().score_samples(x), (N, D)),
    "SVAEDetector.score_samples": (lambda x: detector().score_samples(x), (N, D)),
    "SVAEDetector.score_samples impute": (lambda x: detector("median").score_samples(x), (N, D)),
}
CALLS = {
    "score_table": (lambda x: scores.score_table(MODEL, x, ["joint", "proposed_encoder"]), (N, D)),
    "score_terms": (lambda x: scores.score_terms(MODEL, x, ["joint"]), (N, D)),
    "projection_report": (lambda x: scores.projection_report(MODEL, x, steps=2), (N, D)),
    "residual_variance": (lambda x: scores.residual_variance(MODEL, x, backend="numpy"), (N, D)),
    "FittedModel.scores impute": (lambda x: FITTED.scores(x, ["proposed"], impute="median"), (N, D)),
    "FittedModel.projection_report": (lambda x: FITTED.projection_report(x), (N, D)),
    "explain": (lambda x: explain(FITTED, x).drop(columns="feature"), (N, D)),
    "SVAEDetector.predict": (lambda x: detector().predict(x, return_confidence=True), (N, D)),
    "SVAEDetector.predict_proba": (lambda x: detector().predict_proba(x, "unify"), (N, D)),
    "SVAEDetector.transform": (lambda x: detector().transform(x), (N, D)),
    "SVAEDetector.p_values": (lambda x: detector().p_values(x), (N, D)),
    "SVAEDetector.select": (lambda x: detector().select(x), (N, D)),
    "SVAEDetector.explain": (lambda x: detector().explain(x).drop(columns="feature"), (N, D)),
    "ManifoldScorer.score_table": (lambda x: manifold().score_table(x), (N, D)),
    "ManifoldScorer.encode": (lambda x: manifold().encode(x), (N, D)),
    "ManifoldScorer.project": (lambda x: manifold().project(x), (N, D)),
    "ManifoldScorer.decode": (lambda z: manifold().decode(z), (N, 2)),
    "Standardiser.fit": (lambda x: Standardiser.fit(x).mean, (N, D)),
    "Standardiser.transform": (lambda x: FITTED.standardiser.transform(x), (N, D)),
    "Imputer.fit": (lambda x: Imputer.fit(x, tuple("abcd")).median, (N, D)),
    "Imputer.transform": (lambda x: Imputer(np.zeros(D)).transform(x), (N, D)),
    "StandardNormal": (lambda z: priors.StandardNormal(K).log_density(z), (N, K)),
    "UniformSphere": (lambda z: priors.UniformSphere(K).log_density(z), (N, K)),
    "VMFMixture": (lambda z: VMF.log_density(z), (N, K)),
    "VMFMixture kappa": (lambda k: priors.VMFMixture(Z, k).log_density(Z), (N,)),
    "GaussianMixture": (lambda z: MIXTURE.log_density(z), (N, K)),
    "GaussianMixture covariances": (
        lambda c: priors.GaussianMixture(np.zeros((1, 2)), c).log_density(Z[:, :2]), (1, 2, 2)
    ),
    "quantile_threshold": (lambda s: calibration.quantile_threshold(s, 0.9), (N,)),
    "false_positive_threshold": (lambda s: calibration.false_positive_threshold(s, 0.3).threshold, (N,)),
    "conformal_p_values": (lambda s: calibration.conformal_p_values(TRAIN, s), (N,)),
    "conformal_p_values calibration": (lambda s: calibration.conformal_p_values(s, TRAIN), (N,)),
    "benjamini_hochberg": (lambda p: calibration.benjamini_hochberg(p, 0.1), (N,)),
    "linear_probability": (lambda s: calibration.linear_probability(s, TRAIN), (N,)),
    "unify_probability": (lambda s: calibration.unify_probability(s, TRAIN), (N,)),
    "prediction_confidence": (lambda s: calibration.prediction_confidence(s, TRAIN, 0.5, 0.1), (N,)),
    "contamination": (lambda c: calibration.prediction_confidence(TRAIN, TRAIN, 0.5, c), ()),
    "quantile": (lambda q: calibration.quantile_threshold(TRAIN, q), ()),
    "rate": (lambda r: calibration.false_positive_threshold(TRAIN, r).threshold, ()),
    "log_likelihood": (lambda x: ref.log_likelihood(x, X[:N]), (N, D)),
    "latent_error": (lambda z: ref.latent_error(z, Z), (N, K)),
    "normalize": (ref.normalize, (N, K)),
    "householder": (lambda z: ref.householder(z, Z), (N, K)),
    "log_prior": (lambda z: ref.log_prior(z, Z, KAPPA), (N, K)),
    "log_prior kappa": (lambda k: ref.log_prior(Z, Z, k), (N,)),
    "log_vmf": (lambda z: ref.log_vmf(z, Z, KAPPA), (N, K)),
    "vmf_entropy": (lambda k: ref.vmf_entropy(k, 3), (N,)),
    "log_volume": (ref.log_volume, (N, D, K)),
    "log_density_corrected": (lambda j: ref.log_density_corrected(X[:N], X[:N], Z, j), (N, D, K)),
    "log_laplace": (lambda h: ref.log_laplace(KAPPA, h), (N, K, K)),
    "imq_kernel_mean": (ref.imq_kernel_mean, (N, K)),
    "imq widths": (lambda c: ref.imq_kernel_mean(Z, None, c), (3,)),
    "mmd_imq": (lambda z: ref.mmd_imq(z, Z), (N, K)),
    "roc_auc": (lambda s: ref.roc_auc(s, [0, 1, 0, 1, 0, 1]), (N,)),
    "roc_auc labels": (lambda y: ref.roc_auc(KAPPA, y), (N,)),
    "residual_variance of rows": (lambda x: ref.residual_variance(x, X[:N], 2), (N, D)),
    "model.encode": (MODEL.encode, (N, D)),
    "model.decode": (MODEL.decode, (N, K)),
    **{f"torch {name}": (functools.partial(lambda f, x: getattr(get_backend("torch"), f)(x), name), shape)
       for name, shape in (("normalize", (N, K)), ("log_volume", (N, D, K)))},
    **{name: (functools.partial(one, X), (N, D)) for name, one in BASELINES.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.filterwarnings("ignore")
def test_a_log_density_is_finite_or_minus_infinity_or_refused(name):
    call, shape = DENSITIES[name]

    @DOORS
    @given(array_likes(*shape))
    def run(some):
        check_door(call, some, density=True)

    run()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_a_right_number_or_a_pyscore_error(name):
    call, shape = CALLS[name]

    @DOORS
    @given(array_likes(*shape))
    def run(some):
        check_door(call, some)

    run()


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_leaves_the_others_as_they_are(bad):
    """Its own answer is NaN, or −inf for an infinite code of a mixture; LAPACK would fail for all rows."""
    hessian = np.tile(np.eye(K) * 2, (N, 1, 1))
    calls = {
        "GaussianMixture": (MIXTURE.log_density, Z), "log_laplace": (lambda h: ref.log_laplace(KAPPA, h), hessian),
        "density_at_mode": (lambda h: density_at_mode(KAPPA, h), hessian),
        "householder": (lambda z: ref.householder(z, Z), Z), "encode": (lambda x: MODEL.encode(x)[0], X[:N]),
        "decode": (MODEL.decode, Z), "decoder_jacobian": (MODEL.decoder_jacobian, Z),
        "encoder_jacobian": (MODEL.encoder_jacobian, X[:N]),
        "decoder_bend": (lambda z: MODEL.decoder_bend(z, X[:N]), Z),
    }  # fmt: skip
    for name, (call, rows) in calls.items():
        spoiled = rows.copy()
        spoiled[2] = bad
        got, want = call(spoiled), call(rows)
        kept = np.arange(N) != 2
        np.testing.assert_array_equal(got[kept], want[kept], err_msg=name)
        dense = name == "density_at_mode" or (name == "GaussianMixture" and not np.isnan(bad))
        assert np.isneginf(got[2]) if dense else np.isnan(got[2]).any(), name


# ── the net ──


def raised(error):
    def call():
        raise error

    return call


@pytest.mark.parametrize(("library", "kinds"), _net.RAISES.items())
def test_each_listed_exception_of_a_library_is_caught_with_its_cause(library, kinds):
    """The function that raises stands in a module of the library's name, as its own code would."""
    for kind in kinds:
        scope = {"__name__": f"{library}.inner", "kind": kind}
        exec("def library_code():\n    raise kind('no good')", scope)

        @_net.netted
        def door(inner=scope["library_code"]):
            inner()

        wanted = (
            OutOfMemory if kind is MemoryError else InvalidType if issubclass(kind, TypeError) else InvalidInput
        )
        with pytest.raises(wanted, match="no good") as caught:
            door()
        assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize("kind", [KeyError, AttributeError, AssertionError, ZeroDivisionError, NameError])
def test_faults_of_ours_pass_the_net(kind):
    with pytest.raises(kind):
        _net.netted(raised(kind("x")))()


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, TypeError])
def test_errors_of_a_users_own_function_pass_the_net(kind):
    error = kind("mine")
    with pytest.raises(kind) as caught:
        _net.netted(raised(error))()
    assert caught.value is error


def test_a_callback_that_raises_is_the_users_to_catch():
    class Enough(ValueError):
        pass

    def stop(done, total, loss):
        raise Enough

    with pytest.raises(Enough):
        SVAEDetector(steps=3, hidden_dim=4, batch_size=8, callbacks=stop).fit(X)


def test_a_wrong_call_is_pythons_own_error():
    with pytest.raises(TypeError, match="missing 1 required positional argument") as caught:
        detector().score_samples()
    assert not isinstance(caught.value, InvalidInput)
