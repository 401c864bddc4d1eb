"""Goodness of fit of the prior, and sets with few known anomalies, under both conventions."""

import dataclasses

import golden_files as golden
import numpy as np
import pytest
from closeness import assert_close, assert_conditioned
from kernel_specs import model

from pyscore import reference
from pyscore.backends.stochastic import K
from pyscore.convention import EXACT, ORIGINAL
from pyscore.errors import InvalidInput
from pyscore.experiment.goodness import (
    fit_of_codes,
    goodness_of_fit,
    known_anomaly_rows,
    mean_of_draws,
    sample_prior,
)


@pytest.mark.skipif(
    "trained_bcw_h64_l4_k16" not in golden.cases("trained_"), reason="needs the complete golden files"
)
def test_the_originals_numbers():
    """z_mmd_dst, its p-value and the width of the trained breast-cancer model, from the recorded samples."""
    a = golden.load("trained_bcw_h64_l4_k16")
    codes = a["test_z"][:, a["test_labels"] == 0].T[a["test_mmd_z_inds"]]
    rows = (2, 1, 0)
    prior, width = a["test_mmd_zprior10"].transpose(rows), float(a["test_mmd_gamma"])
    found = fit_of_codes(
        codes,
        prior,
        (a["test_mmd_z1_500"].T, a["test_mmd_z2_500"].T),
        (a["test_mmd_null_Z1"].transpose(rows), a["test_mmd_null_Z2"].transpose(rows)),
        convention=ORIGINAL,
    )

    def mmd(codes, *draws):
        return np.mean([reference.mmd(codes, z, width=width, convention=ORIGINAL) for z in draws])

    assert_close(found.width, width, K, width / 2, np.float32, "one of the grid's widths")
    assert_conditioned(found.mmd, a["test_metrics17"][0], mmd, (codes, *prior), np.float32, "mmd", 8)
    # The null distances are one constant to rounding (Q7): the rank among them is not compared.
    assert found.p_value in (np.arange(1, 102) / 100)


def test_prior_samples_fit_the_prior_and_others_do_not():
    m = model(np.float64, p=1)
    x = 3 + 0.1 * np.random.default_rng(0).standard_normal((400, 7))
    far = goodness_of_fit(m, x)
    assert far.p_value == pytest.approx(1 / 101), "codes of one far corner are no prior samples"
    rng = np.random.default_rng(1)

    def prior(*shape):
        return sample_prior(m, int(np.prod(shape)), rng).reshape(*shape, 3)

    near = fit_of_codes(
        prior(100), prior(10, 100), (prior(500), prior(500)), (prior(50, 100), prior(50, 100)), convention=EXACT
    )
    assert near.p_value > 0.05
    assert near.mmd < far.mmd


def test_goodness_rows():
    m = model(np.float64)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 7))
    labels = np.repeat([0, 1], 30)
    x[30:] += 50
    by_label = dataclasses.replace(EXACT, goodness_rows="normal")
    only_normal = goodness_of_fit(m, x, labels, convention=by_label)
    assert only_normal == goodness_of_fit(m, x[:30], np.zeros(30), convention=by_label)
    assert only_normal.mmd != goodness_of_fit(m, x, labels, convention=EXACT).mmd
    with pytest.raises(InvalidInput, match="`labels` must be given when goodness_rows='normal'"):
        goodness_of_fit(m, x, convention=ORIGINAL)
    with pytest.raises(InvalidInput, match="at least 2 rows"):
        goodness_of_fit(m, x[:1])


def test_prior_samples_have_the_mixtures_mean():
    m = model(np.float64)
    samples = sample_prior(m, 40_000, np.random.default_rng(5))
    mu, kappa = m.encode_pseudo_inputs()
    want = np.mean(reference.special.bessel_ratio(kappa, 3)[:, None] * mu, axis=0)
    # standard error of a mean of bounded values is below 1/√n: five of them are a one-in-a-million event
    np.testing.assert_allclose(samples.mean(axis=0), want, atol=5 / np.sqrt(40_000))


def test_known_anomalies():
    labels = np.array([0] * 10 + [1] * 4)
    for count in (1, 3, 9):
        exact = known_anomaly_rows(labels, count, np.random.default_rng(0))
        assert labels[exact].sum() == min(count, 4)
        assert (labels[exact] == 0).sum() == 10
        original = known_anomaly_rows(labels, count, np.random.default_rng(0), convention=ORIGINAL)
        assert labels[original].sum() == 0, "the original picks normals by mistake (Q23)"
        assert len(original) == len(exact)
    values = [0.5, 0.6, 0.7, 0.8, 0.9]
    assert mean_of_draws(values) == pytest.approx(0.7)
    assert mean_of_draws(values, convention=ORIGINAL) == pytest.approx(0.35)
