"""The Julia core reproduces what the original Julia code returned, function by function.

Bounds are k·eps·scale: eps of the case's type, scale the largest magnitude among the terms that are added up.
Golden arrays hold samples in columns; `.T` turns them to rows.
"""

from dataclasses import replace

import numpy as np
import pytest
from golden_files import facts

from pyscore.convention import ORIGINAL

pytestmark = pytest.mark.julia

CASES = [
    "model_01_i3_h32_l2_k1", "model_03_i8_h32_l2_k16", "model_05_i10_h32_l4_k1", "model_06_i10_h64_l9_k16",
    "model_08_i21_h64_l4_k16", "model_10_i30_h64_l9_k1", "model_11_i30_h64_l4_k16",
]  # fmt: skip
TRAINED = {"f32": "trained_bcw_h64_l4_k16_functions", "f64": "trained_bcw_h64_l4_k16_functions_f64"}
NAMES = [f"{case}_{t}" for case in CASES for t in ("f32", "f64")] + list(TRAINED.values())


def largest(a):
    return max(float(np.max(np.abs(a))), 1.0)


@pytest.fixture(params=NAMES)
def case(request, golden, golden_model, julia, julia32):
    """(arrays, model, backend, eps) of a recorded model."""
    arrays = golden(request.param)
    model = golden_model(arrays)
    backend = julia32 if model.dtype == np.float32 else julia
    return arrays, model, backend, float(np.finfo(model.dtype).eps)


def test_encoder_and_decoder(case, close):
    g, model, julia, eps = case
    x, mu = g["x"].T, g["zparams_mu"].T
    got_mu, got_kappa = julia.encode(model, x, convention=ORIGINAL)
    close(got_mu, mu, 64, eps, 1.0, "zparams mu")
    close(got_kappa, g["zparams_kappa"][0], 8, eps, 100.0, "zparams kappa")
    close(julia.decode(model, mu), g["g_mu"].T, 32, eps, largest(g["g_mu"]), "g(mu)")
    pseudo_mu, pseudo_kappa = julia.encode(model, model.pseudo_inputs, convention=ORIGINAL)
    close(pseudo_mu, g["pseudo_mu"].T, 64, eps, 1.0, "pseudo mu")
    close(pseudo_kappa, g["pseudo_kappa"][0], 8, eps, 100.0, "pseudo kappa")


def test_unit_vectors(case, close):
    g, _, julia, eps = case
    close(
        julia.normalize(g["x"].T, convention=ORIGINAL), g["normalizecolumns_x"].T, 2, eps, 1.0, "normalizecolumns"
    )
    got = julia.householder(g["hh_zprime"].T, g["hh_mu"].T, convention=ORIGINAL)
    close(got, g["hh_out"].T, 8, eps, largest(g["hh_zprime"]), "householderrotation")
    got = julia.householder(g["hh_zprime"].T[:3], g["hh_e1_mu"].T, convention=ORIGINAL)
    close(got, g["hh_e1_out"].T, 4, eps, largest(g["hh_zprime"]), "householderrotation at e1")


def test_likelihood(case, close):
    g, _, julia, eps = case
    x, x_hat = g["x"].T, g["g_mu"].T
    scale = largest(g["log_normal_x_g"])
    close(
        julia.log_likelihood(x, x_hat, convention=ORIGINAL),
        g["log_normal_x_g"][0],
        4,
        eps,
        scale,
        "log_normal(x, g)",
    )
    close(
        julia.log_likelihood(x, x_hat, convention=ORIGINAL),
        g["log_pxexpectedz"][0],
        4,
        eps,
        scale,
        "log_pxexpectedz",
    )
    zero = np.zeros_like(x)
    close(
        julia.log_likelihood(x, zero, convention=ORIGINAL),
        g["log_normal_x"][0],
        4,
        eps,
        largest(g["log_normal_x"]),
        "log_normal(x)",
    )


def test_prior(case, close):
    g, _, julia, eps = case
    prior = g["pseudo_mu"].T, g["pseudo_kappa"][0]
    close(julia.log_prior(g["zparams_mu"].T, *prior, convention=ORIGINAL), g["log_pz"], 16, eps, 1.0, "log_pz")
    close(np.exp(julia.log_prior(g["zparams_mu"].T, *prior, convention=ORIGINAL)), g["pz"], 32, eps, 1.0, "pz")
    close(
        julia.log_prior(g["za"].T, *prior, convention=ORIGINAL), g["log_pz_from_za"], 16, eps, 1.0, "log_pz_from_z"
    )


def test_von_mises_fisher(case, close):
    g, model, julia, eps = case
    n, k = len(g["log_vmf_c_vec"]), model.latent_dim
    mu, kappa = g["zparams_mu"].T[:n], g["zparams_kappa"][0, :n]
    # κ up to 100: the density is a difference of terms of that size.
    close(julia.log_vmf(g["za"].T[:n], mu, kappa), g["log_vmf_c_vec"], 4, eps, 200.0, "log_vmf_c")
    close(julia.vmf_entropy(g["zparams_kappa"][0], k), g["vmfentropy"][0], 8, eps, 100.0, "vmfentropy")
    close(julia.vmf_entropy(g["kappa_grid"], k), g["vmfentropy_grid"], 8, eps, 100.0, "vmfentropy over κ")
    close(julia.vmf_kl(g["zparams_kappa"][0], k), g["kldiv"][0], 8, eps, 100.0, "kldiv")
    areas = [julia.call("uniform_sphere_entropy", int(m)) for m in range(2, 10)]
    close(areas, g["huentropy_2_9"], 4, eps, 4.0, "huentropy")


def test_jacobians(case, close):
    g, model, julia, eps = case
    x, mu = g["x"].T, g["zparams_mu"].T
    count = g["jacobian_decoder"].shape[2]
    for route in ("batched", "loop"):
        decoder = julia.call("jacobian_decoder", model, mu[:count], route=route, convention=ORIGINAL)
        want = np.moveaxis(g["jacobian_decoder"], 2, 0)
        close(decoder, want, 32, eps, largest(want), f"jacobian_decoder {route}")
        encoder = julia.call("jacobian_encoder", model, x[:count], route=route, convention=ORIGINAL)
        want = np.moveaxis(g["jacobian_encoder"], 2, 0)
        close(encoder, want, 64, eps, largest(want), f"jacobian_encoder {route}")


def test_volumes(case, close):
    g, model, julia, eps = case
    x, mu = g["x"].T, g["zparams_mu"].T
    condition = g["sv_decoder"][0] / g["sv_decoder"][-1]
    # The error of a log-volume grows as cond(J).
    for route in ("batched", "loop"):
        got = julia.call("decoder_log_volume", model, mu, route=route, convention=ORIGINAL)
        close(2 * got, g["sum2log_decoder"], 32, eps, condition + 10, f"2Σlog s, decoder, {route}")
        got = julia.call("model_log_prior_jacobian_decoder", model, mu, route=route, convention=ORIGINAL)
        close(got, g["log_pz_jacobian_decoder"], 32, eps, condition + 10, f"log_pz_jacobian_decoder {route}")
    # The smallest singular value of the encoder is rounding noise in the original: without it there are k−1,
    # which are those of TᵀJ with T ⊥ mu.
    kept = g["sv_encoder"][:-1]
    got = julia.encoder_log_volume(model, x, convention=replace(ORIGINAL, encoder_jacobian="tangent"))
    close(
        got, np.sum(np.log(kept.astype(np.float64)), axis=0), 32, eps, kept[0] / kept[-1] + 10, "Σlog s, encoder"
    )


def test_mmd_imq(case, close):
    g, _, julia, eps = case
    a, b, c = g["za"].T, g["zb"].T, g["imq_c"]
    # Distances near 0 are off by eps, which k(x, y) at width c multiplies by 1/c; n/(n−1) of it on the diagonal.
    scale = 1 + eps / eps * np.minimum(1 / c, 1.0 / 1e-3) / len(b)
    close(julia.imq_kernel_mean(a, b, c), g["k_imq_ab"], 8, eps, scale, "k_imq(a, b)")
    close(julia.imq_kernel_mean(a, None, c, convention=ORIGINAL), g["k_imq_a"], 8, eps, scale, "k_imq(a)")
    close(julia.imq_kernel_mean(b, None, c, convention=ORIGINAL), g["k_imq_b"], 8, eps, scale, "k_imq(b)")
    close(julia.mmd_imq(a, b, c, convention=ORIGINAL), g["mmd_imq_ab"], 16, eps, scale, "mmd_imq")
    mu = g["zparams_mu"].T
    close(julia.mmd_imq(mu, a, c, convention=ORIGINAL), g["mmd_imq_mu_a"], 16, eps, scale, "mmd_imq(mu, a)")


@pytest.mark.parametrize(("draws", "kappa"), [("samplez", None), ("samplez_lowk", 0.05), ("samplez_highk", 99.9)])
def test_sampling_from_recorded_draws(case, close, draws, kappa):
    g, _, julia, eps = case
    if f"{draws}_eps" not in g:
        pytest.skip("not recorded for this case")
    mu = g["zparams_mu"].T
    kappas = g["zparams_kappa"][0] if kappa is None else np.full(len(mu), kappa, dtype=mu.dtype)
    epsilon = g[f"{draws}_eps"][0]
    got = julia.sample_vmf(mu, kappas, epsilon, g[f"{draws}_vraw"].T, convention=ORIGINAL)
    # The original's b = (√(4κ²+(m−1)²) − 2κ)/(m−1) cancels: it is off by eps·2κ/(m−1), which w(b) and √(1−w²) magnify.
    m = mu.shape[1]
    b = (m - 1) / (np.sqrt(4.0 * kappas**2 + (m - 1) ** 2) + 2 * kappas)
    slope = 2 * epsilon * (1 - epsilon) / (1 - (1 - b) * epsilon) ** 2
    ring = np.sqrt(1 - g[f"{draws}_omega"][0].astype(np.float64) ** 2 + 1.2e-6)
    scale = (1 + slope * 2 * kappas / (m - 1)) / ring
    close(got, g[f"{draws}_z"].T, 8, eps, scale[:, None], draws)


def test_importance_sampling(case, close):
    g, model, julia, eps = case
    if "log_px_z" not in g:
        pytest.skip("not recorded for this case")
    z = np.moveaxis(g["log_px_z"], 0, 2).swapaxes(0, 1)  # (k, s, n) → (n, s, k)
    n, s = z.shape[:2]
    got = julia.call("model_log_importance", model, g["x"].T[:n], z, convention=ORIGINAL)
    scale = np.max(np.abs(g["log_px_term_pxgivenz"]), axis=0) + 100
    if eps > 1e-10:
        # exp(a − q) is not shifted in the original: in Float32 far rows are sums of subnormal numbers.
        scale = scale + 100 * 1.4e-45 / np.exp(g["log_px"].astype(np.float64) - 6) / eps
    close(got, g["log_px"], 16, eps, scale, "log_px from its draws")
    cosine = g["log_px_term_q"].T / g["zparams_kappa"][0, :n, None]
    got = julia.log_importance(
        g["log_px_term_pxgivenz"].T,
        g["log_px_term_pz"].T,
        cosine,
        g["zparams_kappa"][0, :n],
        model.latent_dim,
        convention=ORIGINAL,
    )
    close(got, g["log_px"], 8, eps, scale, "log_px from its terms")
    assert s == 100


def test_loss_and_its_gradient(case, close, recorded):
    g, model, julia, eps = case
    if "wl_batch_idx" not in g or "grad_b0.01_q1_W" not in g:
        pytest.skip("not recorded for this case")
    x = g["X_train"].T[g["wl_batch_idx"]]
    draws = g["wl_comps"], g["wl_eps"][0], g["wl_vraw"].T
    z = julia.call("sample_prior", model, *draws, convention=ORIGINAL)
    # Where mu is close to e1 the reflection divides by |e1 − mu|, which magnifies the rounding of mu.
    close(z, g["wl_zp"].T, 4096, eps, 1.0, "sampleVamp")
    for j, c in enumerate(g["gammas"]):
        mse, mmd = julia.call("decomposed_wloss", model, x, *draws, c=float(c), convention=ORIGINAL)
        # The samples' own error enters, and 1/c with it: the kernel's slope is 1/c at distance 0.
        scale = 1 + 1 / float(c) / 10
        close(mse, g["decomposed_mse"][0, j], 16, eps, largest(g["decomposed_mse"]), "reconstruction")
        close(mmd, g["decomposed_mmd"][0, j], 1024, eps, scale, "MMD")
        for i, beta in enumerate(g["betas"]):
            loss = julia.call("wloss", model, x, *draws, beta=float(beta), c=float(c), convention=ORIGINAL)
            close(
                loss,
                g["wloss"][i, j],
                1024,
                eps,
                largest(g["decomposed_mse"]) + scale * float(beta),
                f"wloss β={beta} c={c}",
            )
    for beta in ("0.01", "0.1", "1.0", "10.0"):
        got = julia.call(
            "wloss_gradient",
            model,
            x,
            *draws,
            beta=float(np.asarray(float(beta), x.dtype)),
            c=float(np.asarray(0.1, x.dtype)),
            convention=ORIGINAL,
        )
        for array, (name, want) in zip(got, recorded(g, f"grad_b{beta}_").items(), strict=True):
            close(array, want, 8192, eps, largest(want), f"gradient of {name}, β={beta}")


@pytest.mark.parametrize("name", [f"{case}_f64" for case in CASES])
def test_training_replays(name, golden, golden_model, julia, recorded):
    """100 ADAM steps from recorded draws end at the recorded parameters, to 1e-10 in float64."""
    g = golden(name)
    if "tr_batch_idx" not in g:
        pytest.skip("no training in this subset")
    model, x = golden_model(g), g["X_train"].T
    meta = facts(name)
    options = {"beta": meta["tr_beta"], "c": meta["tr_gamma"], "convention": ORIGINAL}
    batches, components = g["tr_batch_idx"].T, g["tr_comps"].T
    epsilon, v = g["tr_eps"].T, np.moveaxis(g["tr_vraw"], (0, 1, 2), (2, 1, 0))
    for steps in (1, 2, 10, 100):
        losses, *arrays = julia.call(
            "train_replay", model, x, batches[:steps], components[:steps], epsilon[:steps], v[:steps], **options
        )
        for got, (parameter, want) in zip(arrays, recorded(g, f"tr_step{steps}_").items(), strict=True):
            assert np.max(np.abs(got - want)) < 1e-10, f"{parameter} after {steps} steps"
    assert np.max(np.abs(losses[:, 0] - g["tr_loss"])) < 1e-9
    assert np.max(np.abs(losses[:, 1] - g["tr_mse"])) < 1e-9
    assert np.max(np.abs(losses[:, 2] - g["tr_mmd"])) < 1e-9


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_adam_to_the_last_bit(dtype, golden, julia, julia32):
    g = golden(f"adam_{dtype}")
    backend = julia32 if dtype == "f32" else julia
    for rate in ("1e-4", "1e-3"):
        got, m, v = backend.call("adam_replay", g["x0"].T, g["g"].T, rate=float(rate))
        assert np.array_equal(got, g[f"adam_{rate}"].T)
        assert np.array_equal(m, g["adam_mt"].T)
        assert np.array_equal(v, g["adam_vt"].T)


# ── Goodness of fit: IPMeasures and the scripts ──────────────────────────────────────────────────────────

DISTANCES = {"l2": "squared_euclidean", "cos": "cosine"}
KERNELS = {"imq": "imq", "gauss": "gaussian", "rq": "rq"}


@pytest.fixture(params=["f32", "f64"])
def measures(request, golden, julia, julia32):
    g = golden(f"ipmeasures_sphere_{request.param}")
    return g, julia32 if request.param == "f32" else julia, 1.2e-7 if request.param == "f32" else 2.3e-16


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_mmd_of_any_kernel(measures, close, kernel, distance):
    g, julia, eps = measures
    x, y, w = g["x"].T, g["y"].T, g["w"].T
    kind = {"kernel": KERNELS[kernel], "distance": DISTANCES[distance], "convention": ORIGINAL}
    close(
        julia.call("pairwise_distance", x, w, DISTANCES[distance], convention=ORIGINAL),
        g[f"pairwise{distance}_xw"],
        16,
        eps,
        4.0,
        "distance",
    )
    for i, width in enumerate(g["params64"]):
        slope = 4 / width if kernel == "imq" else 4 * max(width, 1.0)  # of the kernel, times distances up to 4
        scale = 4 + slope * (1 / len(x) if kernel == "imq" else 1)
        got = julia.call("mmd", x, w, width=float(width), **kind)
        close(got, g[f"mmd_{kernel}_{distance}"][i], 16, eps, scale, f"mmd {kernel} {distance} {width}")
        within, between = (
            julia.call("kernel_mean", x, width=float(width), **kind),
            julia.call("kernel_mean", x, w, width=float(width), **kind),
        )
        close(within, g[f"kernelsum1_{kernel}_{distance}"][i], 16, eps, scale, "kernelsum(x)")
        close(between, g[f"kernelsum2_{kernel}_{distance}"][i], 16, eps, scale, "kernelsum(x, w)")
    if eps < 1e-10:
        K = [_kernel_matrix(julia, kernel, a, b, DISTANCES[distance]) for a, b in ((x, x), (x, y), (y, y))]
        for biased in (False, True):
            got = julia.call("mmd_variance", *K, biased=biased, convention=ORIGINAL)
            close(
                got, g[f"mmd2var_{kernel}_{distance}_unit0_biased{int(biased)}"], 64, eps, 4.0, "mmd2_and_variance"
            )


def _kernel_matrix(julia, kernel, a, b, distance, width=0.1):
    d = julia.call("pairwise_distance", a, b, distance, convention=ORIGINAL)
    if kernel == "imq":
        return width / (width + d)
    return np.exp(-width * d) if kernel == "gauss" else (1 + (d + np.finfo(d.dtype).eps) / (2 * width)) ** -width


def test_width_and_p_value(golden, julia, close):
    g = golden("ipmeasures_sphere_f64")
    z1, z2 = g["gg_z1"].T, g["gg_z2"].T
    got = julia.call("imq_width_criterion", z1, z2, convention=ORIGINAL)
    # mmd²/√variance: both cancel almost completely with Frobenius distances, and the variance more so.
    assert np.max(np.abs(got - g["gg_crit"])) <= 1e-5 * np.max(np.abs(g["gg_crit"]))
    assert julia.call("imq_width", z1, z2, convention=ORIGINAL) == pytest.approx(float(g["gg_gamma"]), rel=1e-12)
    for x, p in zip(g["pv_x"], g["pv"], strict=True):
        assert julia.call("mmd_p_value", g["pv_null"], float(x), convention=ORIGINAL) == p
    # Each point's own distance is a rounding of 0, which widths near 1e-8 turn into a kernel value.
    columnwise = replace(ORIGINAL, width_distance="columnwise")
    got = julia.call("imq_width_criterion", z1, z2, convention=columnwise)
    np.testing.assert_allclose(got, g["gg_crit_h"], rtol=1e-5, atol=1e-9)


def test_null_distribution(golden, julia32, close):
    g = golden("null_distr_distances_f32")
    x, y = (np.ascontiguousarray(g[name].transpose(2, 1, 0)) for name in ("Z1", "Z2"))
    got = julia32.call("mmd_null", x, y, float(g["gamma"]), convention=ORIGINAL)
    # Original: the kernel is Float64, since its width is; ours stays Float32. Three kernel means of about 1 cancel.
    close(got, g["null_dst"], 16, 1.2e-7, 1.0, "null distribution")


# ── jacodeco.jl and the ranking ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_projection_and_corrected_density(dtype, golden, golden_model, julia, julia32, close):
    g = golden(f"jacodeco_svae_added_methods_{dtype}")
    model, backend = golden_model(g), julia32 if dtype == "f32" else julia
    x, z, eps = g["x"].T, g["z"].T, float(np.finfo(model.dtype).eps)
    J = backend.call("jacobian_decoder", model, z, convention=ORIGINAL)
    got = backend.call("log_density_corrected", x, backend.decode(model, z), z, J, convention=ORIGINAL)
    s = np.linalg.svd(J, compute_uv=False)
    scale = np.abs(g["correctedjacodeco_mat"]) + s[:, 0] / s[:, -1] + 1 / s[:, -1] ** 2  # 1 + 1/s² is its spread
    close(got, g["correctedjacodeco_mat"], 64, eps, scale, "correctedjacodeco")
    for steps, name in ((10, "manifoldz_10"), (100, "manifoldz")):
        got, _, iterations = backend.call("project", model, x, z, steps=steps, convention=ORIGINAL)
        # ADAM's first steps are signs: a gradient near 1e-8 may go either way in Float32.
        close(got, g[name].T, 64 if dtype == "f64" else 2000, eps, 1.0, name)
        assert (iterations == steps).all()


def test_areas_under_the_curve(golden, julia):
    g = golden("evalcurves")
    compared = 0
    for i in range(1, 21):
        score, label = g[f"score_{i}"], g[f"label_{i}"]
        if 0 < label.sum() < len(label):
            # EvalCurves rounds its curve to 10 digits.
            assert abs(julia.call("roc_auc", score, label) - g[f"auc_{i}"]) < 2.5e-11
            compared += 1
    assert compared >= 15
