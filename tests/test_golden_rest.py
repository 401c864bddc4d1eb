"""The remaining recordings: AUC, ADAM, scalars, initialisation, standardisation, projection and correction.

What is not equal to the bit is compared to K times the spread of the reference, as in test_golden_reference.
"""

import golden_files as golden
import numpy as np
import pytest
from closeness import assert_close, assert_conditioned
from original_forms import originals_correction

from pyscore import reference
from pyscore.backends.stochastic import K, scale_of
from pyscore.convention import EXACT, ORIGINAL
from pyscore.data.preprocessing import Standardiser
from pyscore.reference import network, sampling
from pyscore.reference.minimise import adam_step
from pyscore.reference.network import Dense


@pytest.mark.parametrize("i", range(1, 21))
def test_roc_auc(i):
    a = golden.load("evalcurves")
    got = reference.roc_auc(a[f"score_{i}"], a[f"label_{i}"])
    # Each trapezium and each addition is rounded once; they add up to at most 1.
    assert_close(got, a[f"ad_auc_{i}"], K, 0.5, what="ADatasets' area, not rounded")
    assert abs(got - a[f"auc_{i}"]) < 5e-11, "EvalCurves rounds its curve to 10 digits"


@pytest.mark.parametrize("case", ["adam_f32", "adam_f64"])
@pytest.mark.parametrize("rate", ["1e-4", "1e-3"])
def test_adam_to_the_last_bit(case, rate):
    a = golden.load(case)
    x, m, v = a["x0"].copy(), np.zeros_like(a["x0"]), np.zeros_like(a["x0"])
    for t in range(a["g"].shape[-1]):
        step, m, v = adam_step(a["g"][..., t], m, v, t + 1, float(rate))
        x = x - step
        np.testing.assert_array_equal(x, a[f"adam_{rate}"][..., t])
    assert x.dtype == a["x0"].dtype


def test_activations_and_their_derivatives():
    a = golden.load("scalars_f64")
    swish, softplus = network.ACTIVATIONS["swish"], network.ACTIVATIONS["softplus"]
    functions = {
        "swish": swish.value,
        "dswish": swish.first,
        "softplus": softplus.value,
        "kappa_act": lambda x: 100 * network.ACTIVATIONS["sigmoid"].value(x),
    }
    for name, function in functions.items():
        scale = scale_of(function, (a["x"],), np.float64)
        # Julia's softplus and sigma underflow to 0 where scipy's go on: hence the absolute term.
        assert_close(function(a["x"]), a[name], K, scale + 1e-30, what=name)


def test_initialisation_to_the_last_bit():
    a = golden.load("scalars_f32")
    np.testing.assert_array_equal(sampling.glorot_uniform_from(a["glorot_u"]), a["glorot_W"])


def test_log_two_pi_is_the_originals():
    assert golden.load("scalars_f64")["log2pi_const"] == reference.LOG_TWO_PI_F32
    zero = np.zeros((1, 30))
    got = reference.log_likelihood(zero, zero, convention=ORIGINAL)[0]
    assert got == -0.5 * float(np.float32(30) * np.float32(1.8378770351409912))
    assert got != reference.log_likelihood(zero, zero, convention=EXACT)[0]


def test_standardise():
    a = golden.load("standartize_toy")
    both = np.concatenate([a["a"].T, a["b"].T]).astype(float)
    with pytest.warns(UserWarning, match="constant columns"):
        scaler = Standardiser.fit(both, floor=1e-6)
    for name in ("a", "b"):
        rows = (a[name].T.astype(float),)
        assert_conditioned(scaler.transform(*rows), a[f"out_{name}64"].T, standardised(both), rows, what=name)


def standardised(both):
    def evaluate(x):
        centred = both - both.mean(axis=0)
        deviation = np.sqrt(np.sum(centred**2, axis=0) / (len(both) - 1))
        return (x - both.mean(axis=0)) / np.maximum(deviation, 1e-6)

    return evaluate


@pytest.fixture(scope="module")
def svae():
    a = golden.load("jacodeco_svae_added_methods_f64")
    return a, golden.model(a)


def corrected(a, decode, want, dtype):
    """The density that was recorded, with the rounding of the quadratic form that the original computed."""
    x, z = a["x"].T, a["z"].T.astype(np.float64)
    x_hat, jacobian = decode(z)
    got = reference.log_density_corrected(x, x_hat, z, jacobian, convention=ORIGINAL)
    scale = scale_of(originals_correction(decode), (x, z), dtype).sum(axis=1)
    assert_close(got, a[want], K, scale, dtype, want)


def test_corrected_density(svae):
    a, model = svae
    corrected(a, lambda z: (model.decode(z), model.decoder_jacobian(z)), "correctedjacodeco_mat", np.float64)

    def floored(z):
        s = np.linalg.svd(model.decoder_jacobian(z), compute_uv=False)
        return 2 * np.sum(np.log(s + reference.VOLUME_FLOOR), axis=1)

    z = a["z"].T
    assert_conditioned(floored(z), a["det"], floored, (z,), what="det")


def test_corrected_density_of_the_gaussian_vae():
    a = golden.load("jacodeco_vae_f32")
    layers = [Dense(a[f"w_g{i}_W"], a[f"w_g{i}_b"]) for i in range(1, 5)]
    corrected(a, lambda z: network.mlp_jacobian(z, layers, "swish"), "correctedjacodeco", np.float32)


@pytest.mark.parametrize(("name", "steps"), [("manifoldz_10", 10), ("manifoldz", 100)])
def test_projection_by_adam(svae, name, steps):
    a, model = svae

    def evaluate(x, z):
        return reference.project(x, z, model.decode, model.decoder_jacobian, steps=steps, convention=ORIGINAL).z

    rows = a["x"].T, a["z"].T
    assert_conditioned(evaluate(*rows), a[name].T, evaluate, rows, what=name, draws=8)
