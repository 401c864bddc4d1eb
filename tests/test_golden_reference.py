"""The reference under ORIGINAL against what the original Julia code returned.

Each tolerance is k·eps·scale: eps of float64, or of float32 for the cases that Julia computed in Float32.
The scale is what the numbers were summed from, since rounding does not know how much of it cancels.
"""

import dataclasses

import golden_files as golden
import numpy as np
import pytest
from closeness import assert_close

from pyscore import reference
from pyscore.convention import ORIGINAL
from pyscore.reference import sampling

MODELS = golden.cases("model_") + [c for c in golden.cases("trained_") if "functions" in c]


@pytest.fixture(params=MODELS, scope="module")
def case(request):
    """Arrays, model, dtype, and the codes and components that the functions start from."""
    arrays = golden.load(request.param)
    return Case(request.param, arrays)


class Case:
    def __init__(self, name, arrays):
        self.name, self.a = name, arrays
        self.model = golden.model(arrays)
        self.dtype = self.model.dtype
        self.k = self.model.latent_dim
        self.x = arrays["x"].T
        # Codes as recorded: every function is compared on the original's own inputs, not on inherited errors.
        self.mu, self.kappa = arrays["zparams_mu"].T, arrays["zparams_kappa"][0]
        self.pseudo_mu, self.pseudo_kappa = arrays["pseudo_mu"].T, arrays["pseudo_kappa"][0]

    def close(self, got, name, k, scale=1.0):
        want = self.a[name] if isinstance(name, str) else name
        return assert_close(
            got, want, k, scale, self.dtype, f"{self.name}: {name if isinstance(name, str) else ''}"
        )


def head_scale(case):
    """Rounding of mu in units of eps: what flows in over the length of the raw head, |h||W| / |v|.

    In Float32 the eps inside the root of `normalize` is Julia's, 1.2e-7, and the reference's is 2.2e-16: mu is
    shorter by eps/(2|v|²).
    """
    from pyscore.reference import network

    hidden = network.mlp(case.x, case.model.encoder, case.model.activation, last_active=True)
    weight = case.model.mu.weight.astype(np.float64)
    raw = hidden @ weight.T + case.model.mu.bias
    length = np.linalg.norm(raw, axis=1)
    return (np.abs(hidden) @ np.abs(weight).T).max(axis=1) / length + (case.dtype == np.float32) / length**2


def test_encoder(case):
    mu, kappa = case.model.encode(case.x, convention=ORIGINAL)
    case.close(mu, case.mu, 40, head_scale(case)[:, None])
    case.close(kappa, case.kappa, 16, 100)


def test_decoder_and_likelihood(case):
    x_hat = case.model.decode(case.mu)
    case.close(x_hat, case.a["g_mu"].T, 16, np.abs(x_hat).max())
    scale = np.sum(case.x.astype(float) ** 2, axis=1) + case.x.shape[1] * 2
    got = reference.log_likelihood(case.x, case.a["g_mu"].T, convention=ORIGINAL)
    case.close(got, case.a["log_pxexpectedz"][0], 4, scale)
    case.close(got, case.a["log_normal_x_g"][0], 4, scale)
    mse = np.mean((case.x.astype(float) - case.a["g_mu"].T) ** 2)
    case.close(mse, "mse", 16, mse)


def test_normalise_and_householder(case):
    if case.dtype == np.float32:  # eps of the dtype stands in the formula: compare what Julia did in Float64
        eps32 = np.finfo(np.float32).eps
        x = case.x.astype(float)
        case.close(x / np.sqrt((x * x).sum(axis=1, keepdims=True) + eps32), case.a["normalizecolumns_x"].T, 2)
        return
    case.close(reference.normalize(case.x, convention=ORIGINAL), case.a["normalizecolumns_x"].T, 2)
    got = reference.householder(case.a["hh_zprime"].T, case.a["hh_mu"].T, convention=ORIGINAL)
    case.close(got, case.a["hh_out"].T, 4, 2)
    got = reference.householder(case.a["hh_zprime"][:, :3].T, case.a["hh_e1_mu"].T, convention=ORIGINAL)
    case.close(got, case.a["hh_e1_out"].T, 4, 2)


def test_jacobians_and_volumes(case):
    decoder = case.model.decoder_jacobian(case.mu)
    encoder = case.model.encoder_jacobian(case.x, convention=ORIGINAL)
    n = case.a["jacobian_decoder"].shape[2]
    case.close(decoder[:n], case.a["jacobian_decoder"].transpose(2, 0, 1), 32, np.abs(decoder).max())
    steep = np.abs(encoder[:n]).max(axis=(1, 2)) * head_scale(case)[:n]
    case.close(encoder[:n], case.a["jacobian_encoder"].transpose(2, 0, 1), 32, steep[:, None, None])

    s = np.linalg.svd(decoder, compute_uv=False)
    condition = s[:, 0] / s[:, -1]
    scale = 2 * (np.abs(np.log(s)).sum(axis=1) + case.k * condition)
    got = reference.log_prior_jacobian_decoder(case.mu, decoder, case.pseudo_mu, convention=ORIGINAL)
    case.close(got, "log_pz_jacobian_decoder", 16, scale)
    case.close(2 * reference.log_volume(decoder), "sum2log_decoder", 16, scale)


def test_encoder_volume_without_its_noise(case):
    """The smallest singular value is rounding noise (Q3): the score is compared with it dropped."""
    s = np.linalg.svd(case.model.encoder_jacobian(case.x, convention=ORIGINAL), compute_uv=False)
    want = np.log(case.a["sv_encoder"].T.astype(float))[:, :-1].sum(axis=1)
    scale = head_scale(case) * (s[:, 0] / s[:, -2]) + np.abs(np.log(s[:, :-1])).sum(axis=1)
    case.close(np.log(s[:, :-1]).sum(axis=1), want, 40, scale)
    # What the original adds is twice the sum over all, noise included, plus log_pz.
    total = 2 * np.log(case.a["sv_encoder"].T.astype(float)).sum(axis=1) + case.a["log_pz_vec"]
    case.close(case.a["log_pz_jacobian_encoder"], total, 8, np.abs(total) + 100)


def test_prior(case):
    case.close(reference.log_prior(case.mu, case.pseudo_mu, convention=ORIGINAL), "log_pz", 8)
    case.close(reference.log_prior(case.a["za"].T, case.pseudo_mu, convention=ORIGINAL), "log_pz_from_za", 8)


def test_vmf(case):
    n = len(case.a["log_vmf_c_vec"])
    za = case.a["za"].T[:n]
    got = reference.log_vmf(za, case.mu[:n], case.kappa[:n])
    case.close(got, "log_vmf_c_vec", 16, case.kappa[:n] + 10)
    case.close(case.kappa[:n] * np.sum(za * case.mu[:n], axis=1), "log_vmf_wo_c_vec", 4, case.kappa[:n])
    # The original adds and subtracts κ-sized terms, pyscore does not: the scale is κ.
    case.close(reference.vmf_entropy(case.kappa, case.k), case.a["vmfentropy"][0], 8, 2 * case.kappa + 10)
    grid = case.a["kappa_grid"]
    case.close(reference.vmf_entropy(grid, case.k), "vmfentropy_grid", 8, 2 * grid + 10)
    case.close(reference.vmf_kl(case.kappa, case.k), case.a["kldiv"][0], 8, 2 * case.kappa + 10)
    case.close([reference.uniform_sphere_entropy(k) for k in range(2, 10)], "huentropy_2_9", 4, 4)


def vmf_scale(kappa, k):
    """Rounding of a replayed sample: the original takes b as (c − 2κ)/(k−1), which cancels by 2κ/b."""
    kappa = np.asarray(kappa, np.float64)
    b = (k - 1) / (np.sqrt(4 * kappa**2 + (k - 1) ** 2) + 2 * kappa)
    return 1 + 2 * kappa / (b * (k - 1)) * b


@pytest.mark.parametrize("draws", ["samplez", "samplez_lowk", "samplez_highk"])
def test_sampling(case, draws):
    kappa = {"samplez": case.kappa, "samplez_lowk": 0.05, "samplez_highk": 99.9}[draws]
    kappa = np.broadcast_to(np.asarray(kappa, case.dtype), case.kappa.shape)
    if f"{draws}_z" not in case.a:
        pytest.skip("no draws recorded for this case")
    if case.dtype == np.float32:
        pytest.skip("eps of Float32 stands in the formula; the torch tests replay it in float32")
    z = reference.sample_vmf(
        case.mu, kappa, case.a[f"{draws}_eps"][0], case.a[f"{draws}_vraw"].T, convention=ORIGINAL
    )
    # w² near 1 leaves √(1−w²+1e-6): a derivative of up to w/√1e-6.
    case.close(z, case.a[f"{draws}_z"].T, 8, (vmf_scale(kappa, case.k) * 30)[:, None])
    assert sampling.accept_epsilon(case.a[f"{draws}_eps"][0], case.a[f"{draws}_u"][0], kappa, case.k).all()


def test_importance(case):
    if "log_px" not in case.a or "log_px_term_pz" not in case.a:
        pytest.skip("no draws in this subset")
    likelihood, prior = case.a["log_px_term_pxgivenz"].T, case.a["log_px_term_pz"].T
    n = len(likelihood)
    kappa = case.kappa[:n]
    cosine = case.a["log_px_term_q"].T / kappa[:, None].astype(float)
    got = reference.log_importance(likelihood, prior, cosine, kappa, case.k, convention=ORIGINAL)
    scale = np.abs(likelihood).max(axis=1) + kappa + 10
    want = case.a["log_px"]
    finite = want > (-80 if case.dtype == np.float32 else -700)  # exp underflows for far rows (Q26)
    case.close(got[finite], want[finite], 8, scale[finite])
    # The elementwise sum that the authors probably meant: EXACT plus log n, without q's normaliser.
    plain = dataclasses.replace(ORIGINAL, importance="elementwise")
    meant = reference.log_importance(likelihood, prior, cosine, kappa, case.k, convention=plain)
    meant = meant + np.log(likelihood.shape[1]) + reference.log_vmf_normaliser(kappa, case.k)
    case.close(meant[finite], case.a["log_px_intended"][finite], 16, scale[finite])


def kernel_scale(x, y, widths):
    """Mean of k + k²/c: a kernel value, and what the rounding of its distance does to it."""
    distance = np.maximum(0, 1 - x.astype(float) @ y.T.astype(float))
    kernels = [c / (c + distance) for c in widths]
    return np.array([np.mean(k + k * k / c) for k, c in zip(kernels, widths, strict=True)])


def test_mmd(case):
    za, zb, widths = case.a["za"].T, case.a["zb"].T, case.a["imq_c"]
    xx, yy, xy = kernel_scale(za, za, widths), kernel_scale(zb, zb, widths), kernel_scale(za, zb, widths)
    case.close(reference.imq_kernel_mean(za, None, widths, convention=ORIGINAL), "k_imq_a", 4, xx)
    case.close(reference.imq_kernel_mean(zb, None, widths, convention=ORIGINAL), "k_imq_b", 4, yy)
    case.close(reference.imq_kernel_mean(za, zb, widths), "k_imq_ab", 4, xy)
    case.close(reference.mmd_imq(za, zb, widths, convention=ORIGINAL), "mmd_imq_ab", 4, xx + yy + 2 * xy)
