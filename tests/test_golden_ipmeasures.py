"""Goodness of fit against IPMeasures of 2019 and (h_*) its v0.2.5, which divides by each column's norm."""

import dataclasses
import functools

import golden_files as golden
import numpy as np
import pytest
from closeness import assert_close, assert_conditioned

from pyscore import reference
from pyscore.backends.stochastic import K, scale_of
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


def later_criterion(x, y, widths):
    """The criterion of v0.2.5, which takes n·k(0) off a sum rather than leave the diagonal out.

    A point's own distance is a rounding of 0, which a width near 1e-8 turns into a part of the kernel value.
    """
    values, m = [], len(x)
    for c in widths:
        xx, xy, yy = (
            c / (c + reference.pairwise_distance(a, b, convention=LATER)) for a, b in ((x, x), (x, y), (y, y))
        )
        sums = reference.KernelSums(
            xx.sum(axis=0) - 1, yy.sum(axis=0) - 1, xy.sum(axis=1), xy.sum(axis=0),
            (xx**2).sum() - m, (yy**2).sum() - m, (xy**2).sum(),
        )  # fmt: skip
        statistic, variance = reference.mmd_variance_of_sums(sums, convention=LATER)
        values.append(statistic / np.sqrt(max(variance, np.finfo(float).eps)))
    return np.array(values)


def test_width_of_the_script(g):
    """The scale is found at every fifth width and interpolated: it is smooth in the width."""
    x, y = g["gg_z1"].T, g["gg_z2"].T
    widths, few = reference.WIDTH_GRID, reference.WIDTH_GRID[::5]
    for convention, name in ((ORIGINAL, "gg_crit"), (LATER, "gg_crit_h")):
        evaluate = functools.partial(reference.imq_width_criterion, convention=convention)
        recorded = later_criterion if convention is LATER else evaluate
        scale = scale_of(functools.partial(recorded, widths=few), (x, y), np.float64, draws=12)
        scale = np.exp(np.interp(np.log(widths), np.log(few), np.log(scale)))
        assert_close(evaluate(x, y), g[name], K, scale, what=name)
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
    evaluate = functools.partial(reference.mmd_null, width=float(a["gamma"]), convention=ORIGINAL)
    pairs = a["Z1"].transpose(2, 1, 0), a["Z2"].transpose(2, 1, 0)
    assert_conditioned(evaluate(*pairs), a["null_dst"], evaluate, pairs, np.float32, "null distances", draws=8)
