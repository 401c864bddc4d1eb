"""Goodness of fit against IPMeasures of 2019 and (h_*) its v0.2.5, which divides by each column's norm."""

import functools

import golden_files as golden
import numpy as np
import pytest
from closeness import assert_close, assert_conditioned
from original_forms import LATER, criterion_scale

from pyscore import reference
from pyscore.backends.stochastic import K
from pyscore.convention import ORIGINAL

DISTANCES = {"l2": "squared_euclidean", "cos": "cosine"}
KERNELS = {"imq": "imq", "gauss": "gaussian", "rq": "rq"}


@pytest.fixture(scope="module")
def g():
    return golden.load("ipmeasures_sphere_f64")


@pytest.mark.parametrize("short", DISTANCES)
def test_distances(g, short):
    for convention, prefix in ((ORIGINAL, ""), (LATER, "h_")):
        evaluate = functools.partial(reference.pairwise_distance, distance=DISTANCES[short], convention=convention)
        pair = g["x"].T, g["w"].T
        assert_conditioned(evaluate(*pair), g[f"{prefix}pairwise{short}_xw"], evaluate, pair, what=prefix + short)


@pytest.mark.parametrize("short", DISTANCES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_means_and_mmd(g, kernel, short):
    x, w = g["x"].T, g["w"].T
    for i, width in enumerate(g["params64"]):
        options = {"width": float(width), "kernel": KERNELS[kernel], "distance": DISTANCES[short]}
        mmd = functools.partial(reference.mmd, **options)
        for convention, prefix in ((ORIGINAL, ""), (LATER, "h_")):
            evaluate, want = functools.partial(mmd, convention=convention), g[f"{prefix}mmd_{kernel}_{short}"][i]
            assert_conditioned(evaluate(x, w), want, evaluate, (x, w), what=f"{prefix} {options}")
        evaluate = functools.partial(reference.kernel_mean, convention=ORIGINAL, **options)
        for rows, name in (((x,), "kernelsum1"), ((x, w), "kernelsum2")):
            want = g[f"{name}_{kernel}_{short}"][i]
            assert_conditioned(evaluate(*rows), want, evaluate, rows, what=f"{name} {options}")


def variance_of(x, y, short, *, biased):
    def kernel(a, b):
        return 0.1 / (0.1 + reference.pairwise_distance(a, b, DISTANCES[short], convention=ORIGINAL))

    return reference.mmd_variance(kernel(x, x), kernel(x, y), kernel(y, y), biased=biased, convention=ORIGINAL)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("short", DISTANCES)
def test_mmd_variance(g, short, biased):
    evaluate = functools.partial(variance_of, short=short, biased=biased)
    want, pair = g[f"mmd2var_imq_{short}_unit0_biased{int(biased)}"], (g["x"].T, g["y"].T)
    assert_conditioned(evaluate(*pair), want, evaluate, pair, what="mmd, variance")


@pytest.mark.parametrize("short", DISTANCES)
def test_width_criterion(g, short):
    pair, options = (g["x"].T, g["y"].T), {"widths": g["params64"], "distance": DISTANCES[short]}
    for convention, prefix in ((ORIGINAL, ""), (LATER, "h_")):
        evaluate = functools.partial(reference.imq_width_criterion, **options, convention=convention)
        want = g[f"{prefix}crit_mmd2_var_imq_{short}"]
        assert_conditioned(evaluate(*pair), want, evaluate, pair, what=prefix + short)


def test_width_of_the_script(g):
    x, y = g["gg_z1"].T, g["gg_z2"].T
    for convention, name in ((ORIGINAL, "gg_crit"), (LATER, "gg_crit_h")):
        got = reference.imq_width_criterion(x, y, convention=convention)
        assert_close(got, g[name], K, criterion_scale(x, y, convention), what=name)
    assert_close(reference.imq_width(x, y, convention=ORIGINAL), float(g["gg_gamma"]), K, g["gg_gamma"] / 2)


def test_p_value(g):
    got = [reference.mmd_p_value(g["pv_null"], v, convention=ORIGINAL) for v in g["pv_x"]]
    assert_close(got, g["pv"], 0, what="ranks over 100 are exact")


@pytest.mark.skipif(
    "null_distr_distances_f32" not in golden.cases("null_distr"), reason="needs the complete golden files"
)
def test_null_distribution():
    a = golden.load("null_distr_distances_f32")
    width = reference.imq_width(a["z1_500"].T, a["z2_500"].T, convention=ORIGINAL)
    assert_close(width, float(a["gamma"]), K, a["gamma"] / 2, np.float32, "one of the grid's widths")
    evaluate = functools.partial(reference.mmd_null, width=float(a["gamma"]), convention=ORIGINAL)
    pairs = a["Z1"].transpose(2, 1, 0), a["Z2"].transpose(2, 1, 0)
    assert_conditioned(evaluate(*pairs), a["null_dst"], evaluate, pairs, np.float32, "null distances", draws=8)
