"""The remaining recordings: AUC, ADAM, scalars, initialisation, standardisation, projection and correction."""

import golden_files as golden
import numpy as np
import pytest
from closeness import assert_close

from pyscore import reference
from pyscore.convention import EXACT, ORIGINAL
from pyscore.data.preprocessing import Standardiser
from pyscore.reference import network, sampling
from pyscore.reference.minimise import adam_step
from pyscore.reference.network import Dense


@pytest.mark.parametrize("i", range(1, 21))
def test_roc_auc(i):
    a = golden.load("evalcurves")
    got = reference.roc_auc(a[f"score_{i}"], a[f"label_{i}"])
    assert_close(got, a[f"ad_auc_{i}"], 2, what="ADatasets' area, not rounded")
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
    x = a["x"]
    swish, softplus = network.ACTIVATIONS["swish"], network.ACTIVATIONS["softplus"]
    # Julia's softplus and sigma underflow to 0 where scipy's go on: hence the absolute term.
    assert_close(swish.value(x), a["swish"], 4, np.abs(a["swish"]) + 1e-30, what="swish")
    assert_close(
        swish.first(x), a["dswish"], 8, np.abs(a["dswish"]) + np.abs(x) * a["sigma"] + 1e-30, what="swish'"
    )
    assert_close(softplus.value(x), a["softplus"], 4, np.abs(a["softplus"]) + 1e-30, what="softplus")
    assert_close(100 * network.special.expit(x), a["kappa_act"], 4, a["kappa_act"] + 1e-30, what="kappa")


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
        want = a[f"out_{name}64"].T
        assert_close(scaler.transform(a[name].T.astype(float)), want, 16, np.abs(want) + 1, what=name)


@pytest.fixture(scope="module")
def svae():
    a = golden.load("jacodeco_svae_added_methods_f64")
    return a, golden.model(a)


def test_corrected_density(svae):
    a, model = svae
    x, z = a["x"].T, a["z"].T
    jacobian = model.decoder_jacobian(z)
    got = reference.log_density_corrected(x, model.decode(z), z, jacobian, convention=ORIGINAL)
    s = np.linalg.svd(jacobian, compute_uv=False)
    scale = np.abs(got) + 2 / s[:, -1] ** 2  # the original inverts I + (JᵀJ)⁻¹ as a matrix
    assert_close(got, a["correctedjacodeco_mat"], 16, scale, what="correctedjacodeco")
    floored = 2 * np.log(s + reference.VOLUME_FLOOR).sum(axis=1)
    assert_close(floored, a["det"], 4, 10 + 2 * s[:, 0] / s[:, -1], what="det")


def test_corrected_density_of_the_gaussian_vae():
    a = golden.load("jacodeco_vae_f32")
    layers = [Dense(a[f"w_g{i}_W"], a[f"w_g{i}_b"]) for i in range(1, 5)]
    x, z = a["x"].T, a["z"].T
    x_hat, jacobian = network.mlp_jacobian(z.astype(float), layers, "swish")
    got = reference.log_density_corrected(x, x_hat, z, jacobian, convention=ORIGINAL)
    s = np.linalg.svd(jacobian, compute_uv=False)
    scale = np.abs(got) + 2 / s[:, -1] ** 2
    assert_close(got, a["correctedjacodeco"], 8, scale, np.float32, "correctedjacodeco")


@pytest.mark.parametrize(("name", "steps"), [("manifoldz_10", 10), ("manifoldz", 100)])
def test_projection_by_adam(svae, name, steps):
    a, model = svae
    found = reference.project(
        a["x"].T, a["z"].T, model.decode, model.decoder_jacobian, steps=steps, convention=ORIGINAL
    )
    assert_close(found.z, a[name].T, 16, what=name)
