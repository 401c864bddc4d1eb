"""Goodness of fit against IPMeasures of 2019 and (h_*) its v0.2.5, which divides by each column's norm."""

import dataclasses

import golden_files as golden
import numpy as np
import pytest
from closeness import assert_close

from pyscore import reference
from pyscore.convention import ORIGINAL

LATER = dataclasses.replace(ORIGINAL, width_distance="columnwise")
DISTANCES = {"l2": "squared_euclidean", "cos": "cosine"}
KERNELS = {"imq": "imq", "gauss": "gaussian", "rq": "rq"}


@pytest.fixture(scope="module")
def g():
    return golden.load("ipmeasures_sphere_f64")


@pytest.mark.parametrize("short", DISTANCES)
def test_distances(g, short):
    for convention, prefix in ((ORIGINAL, ""), (LATER, "h_")):
        got = reference.pairwise_distance(g["x"].T, g["w"].T, DISTANCES[short], convention=convention)
        assert_close(got, g[f"{prefix}pairwise{short}_xw"], 16 if short == "l2" else 2, 1.0, what=prefix + short)


@pytest.mark.parametrize("short", DISTANCES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_means_and_mmd(g, kernel, short):
    x, w = g["x"].T, g["w"].T
    for i, width in enumerate(g["params64"]):
        options = {"width": float(width), "kernel": KERNELS[kernel], "distance": DISTANCES[short]}
        for convention, prefix in ((ORIGINAL, ""), (LATER, "h_")):
            got = reference.mmd(x, w, convention=convention, **options)
            assert_close(
                got, g[f"{prefix}mmd_{kernel}_{short}"][i], 64, 1 + 0.01 / width, what=f"{prefix} {options}"
            )
        got = reference.kernel_mean(x, convention=ORIGINAL, **options)
        assert_close(got, g[f"kernelsum1_{kernel}_{short}"][i], 64, 1 + 0.01 / width, what=str(options))
        got = reference.kernel_mean(x, w, convention=ORIGINAL, **options)
        assert_close(got, g[f"kernelsum2_{kernel}_{short}"][i], 64, 1.0, what=str(options))


def kernels(x, y, short, width, convention):
    def kernel(a, b):
        return width / (width + reference.pairwise_distance(a, b, DISTANCES[short], convention=convention))

    return kernel(x, x), kernel(x, y), kernel(y, y)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("short", DISTANCES)
def test_mmd_variance(g, short, biased):
    k = kernels(g["x"].T, g["y"].T, short, 0.1, ORIGINAL)
    statistic, variance = reference.mmd_variance(*k, biased=biased, convention=ORIGINAL)
    want = g[f"mmd2var_imq_{short}_unit0_biased{int(biased)}"]
    assert_close(statistic, want[0], 32, np.mean(k), what="mmd")
    assert_close(variance, want[1], 32, np.mean(k) ** 2 / len(k[0]), what="variance")


def criterion_scale(x, y, short, widths, convention):
    """How far MMD²/√var moves if MMD² moves by eps and var by eps/m, both sums of terms near 1."""
    scales = []
    for width in widths:
        statistic, variance = reference.mmd_variance(
            *kernels(x, y, short, width, convention), convention=convention
        )
        variance = max(variance, np.finfo(float).eps)
        scales.append(1 / np.sqrt(variance) + abs(statistic) / variance**1.5 / len(x))
    return np.array(scales)


@pytest.mark.parametrize("short", DISTANCES)
def test_width_criterion(g, short):
    x, y, widths = g["x"].T, g["y"].T, g["params64"]
    for convention, prefix in ((ORIGINAL, ""), (LATER, "h_")):
        got = reference.imq_width_criterion(x, y, widths, distance=DISTANCES[short], convention=convention)
        scale = criterion_scale(x, y, short, widths, convention)
        assert_close(got, g[f"{prefix}crit_mmd2_var_imq_{short}"], 16, scale, what=prefix + short)


def test_width_of_the_script(g):
    x, y, widths = g["gg_z1"].T, g["gg_z2"].T, reference.WIDTH_GRID
    for convention, name in ((ORIGINAL, "gg_crit"), (LATER, "gg_crit_h")):
        got = reference.imq_width_criterion(x, y, convention=convention)
        assert_close(got, g[name], 16, criterion_scale(x, y, "cos", widths, convention), what=name)
    assert reference.imq_width(x, y, convention=ORIGINAL) == pytest.approx(float(g["gg_gamma"]), rel=1e-12)


def test_p_value(g):
    got = [reference.mmd_p_value(g["pv_null"], v, convention=ORIGINAL) for v in g["pv_x"]]
    assert_close(got, g["pv"], 0, what="ranks over 100 are exact")


@pytest.mark.skipif(
    "null_distr_distances_f32" not in golden.cases("null_distr"), reason="needs the complete golden files"
)
def test_null_distribution():
    a = golden.load("null_distr_distances_f32")
    assert reference.imq_width(a["z1_500"].T, a["z2_500"].T, convention=ORIGINAL) == pytest.approx(
        float(a["gamma"])
    )
    null = reference.mmd_null(
        a["Z1"].transpose(2, 1, 0), a["Z2"].transpose(2, 1, 0), float(a["gamma"]), convention=ORIGINAL
    )
    assert_close(null, a["null_dst"], 64, 1.0, np.float32, "null distances")
