"""`pyscore.backends.flux` speaks the original's names: the recorded numbers come back through it."""

import numpy as np
import pytest

from pyscore.backends import flux
from pyscore.errors import InvalidInput

pytestmark = pytest.mark.julia


@pytest.fixture
def original(golden, golden_model, julia):
    g = golden("model_08_i21_h64_l4_k16_f64")
    return g, flux.SVAEvampmeans(golden_model(g), backend=julia)


def test_a_script_reads_the_same(original, close):
    g, m = original
    x = g["x"].T
    mu, kappa = flux.zparams(m, x)
    rows = [
        (mu, g["zparams_mu"].T, 1.0), (kappa, g["zparams_kappa"][0], 100.0), (m.q(x), g["hidden"].T, 4.0),
        (m.g(mu), g["g_mu"].T, 4.0), (flux.log_pxexpectedz(m, x), g["log_pxexpectedz"][0], 100.0),
        (flux.log_pz(m, x), g["log_pz"], 1.0), (flux.pz(m, x), g["pz"], 1.0),
        (flux.log_pz_from_z(m, g["za"].T), g["log_pz_from_za"], 1.0),
        (flux.log_pz_jacobian_decoder(m, mu), g["log_pz_jacobian_decoder"], 100.0),
        (flux.jacobian_decoder(m, mu[:8]), np.moveaxis(g["jacobian_decoder"], 2, 0), 4.0),
        (flux.jacobian_encoder(m, x[:8]), np.moveaxis(g["jacobian_encoder"], 2, 0), 4.0),
        (flux.kldiv(m, kappa), g["kldiv"][0], 100.0), (flux.vmfentropy(m.zdim, kappa), g["vmfentropy"][0], 100.0),
        (flux.normalizecolumns(x), g["normalizecolumns_x"].T, 1.0), (m.hue, g["model_hue"], 4.0),
        (flux.householderrotation(g["hh_zprime"].T, g["hh_mu"].T), g["hh_out"].T, 4.0),
        (flux.pairwisecos(g["za"].T, g["zb"].T), g["pairwisecos_ab"], 2.0),
        (flux.log_normal(x), g["log_normal_x"][0], 100.0),
        (flux.log_vmf_c(g["za"].T[:48], mu[:48], kappa[:48]), g["log_vmf_c_vec"], 200.0),
    ]  # fmt: skip
    for i, (got, want, scale) in enumerate(rows):
        close(got, want, 64, 2.3e-16, scale, f"row {i}")
    for i, c in enumerate(g["imq_c"]):
        close(flux.mmd_imq(g["za"].T, g["zb"].T, c), g["mmd_imq_ab"][i], 16, 2.3e-16, 1 + 1 / c / 10, "mmd_imq")
        close(flux.k_imq(g["za"].T, c), g["k_imq_a"][i], 16, 2.3e-16, 1 + 1 / c / 10, "k_imq(x, c)")
        close(flux.k_imq(g["za"].T, g["zb"].T, c), g["k_imq_ab"][i], 16, 2.3e-16, 1 + 1 / c / 10, "k_imq(x, y, c)")


def test_one_sample_is_a_vector(original, close):
    g, m = original
    x = g["x"].T
    mu, kappa = flux.zparams(m, x[3])
    assert mu.shape == (4,)
    assert np.ndim(kappa) == 0
    for name in ("log_pz", "log_pz_jacobian_encoder"):
        assert np.ndim(getattr(flux, name)(m, x[3])) == 0
    close(flux.log_pz_jacobian_decoder(m, mu), g["log_pz_jacobian_decoder"][3], 64, 2.3e-16, 100.0, "one code")
    assert flux.manifoldz(m, x[3], 2).shape == (4,)


def test_random_parts_have_seeds(original):
    g, m = original
    x = g["x"].T[:5]
    assert np.array_equal(flux.sampleVamp(m, 9, seed=1), flux.sampleVamp(m, 9, seed=1))
    assert not np.array_equal(flux.sampleVamp(m, 9, seed=1), flux.sampleVamp(m, 9, seed=2))
    assert flux.infer(m, x).shape == x.shape
    # 100 draws each: the recorded estimate and this one differ by the noise of sampling alone.
    assert np.median(np.abs(flux.log_px(m, x) - g["log_px"][:5])) < 2.0
    loss = flux.wloss(m, x, 0.0, lambda a, b: flux.mmd_imq(a, b, 0.1))
    assert loss == pytest.approx(np.mean((x - m.g(flux.zparams(m, x)[0])) ** 2))
    assert flux.correctedjacodeco(m, x, flux.zparams(m, x)[0]).shape == (5,)


def test_only_what_the_original_has():
    with pytest.raises(InvalidInput, match="must be 3, the name of an activation"):
        flux.SVAEvampmeans(8, 16, 3, 2, "relu", "Dense", 4)
