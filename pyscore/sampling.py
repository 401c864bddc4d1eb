"""Random draws: every one comes from here, seeded by counters, or is injected from outside.

A generator is made anew for each (seed, stream, index), so that a draw depends neither on how many draws
came before nor on what else is computed: a run resumes, and a model trained in a stack repeats, to the bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyscore import _validate as check
from pyscore._validate import Array
from pyscore.errors import NumericalWarning

__all__ = ["VMFDraws", "accept_epsilon", "draw_vmf", "generator", "glorot_uniform", "glorot_uniform_from"]

STREAMS = {"initialise": 0, "train": 1, "importance": 2, "goodness": 3, "validation": 4, "toy": 50}


def generator(seed: int, stream: str, index: int = 0) -> np.random.Generator:
    """Return the Philox generator of one (seed, stream, index)."""
    check.integer("seed", seed, at_least=0)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, STREAMS[stream], index])))


class VMFDraws(NamedTuple):
    """What `reference.sample_vmf` needs beside mu and kappa."""

    epsilon: Array
    """(n,) accepted draws of Beta((k−1)/2, (k−1)/2)."""
    v: Array
    """(n, k−1) draws of N(0, I)."""


def accept_epsilon(epsilon: Array, u: Array, kappa: Array, k: int) -> NDArray[np.bool_]:
    """Wood's rule: accept ε if (k−1) log t − t + D ≥ log u.

    t = 2ab/(1−(1−b)ε), a = (k−1+2κ+c)/4, b = (k−1)/(c+2κ), c = √(4κ²+(k−1)²), D = 4ab/(1+b) − (k−1) log(k−1).
    Original: `isaccepted` (svae.jl).
    """
    c = np.sqrt(4 * kappa**2 + (k - 1) ** 2)
    b = (k - 1) / (c + 2 * kappa)
    a = (k - 1 + 2 * kappa + c) / 4
    bound = 4 * a * b / (1 + b) - (k - 1) * np.log(k - 1)
    t = 2 * a * b / (1 - (1 - b) * epsilon)
    with np.errstate(divide="ignore"):
        accepted: NDArray[np.bool_] = (k - 1) * np.log(t) - t + bound >= np.log(u)
    return accepted


def draw_vmf(kappa: Array, k: int, rng: np.random.Generator) -> VMFDraws:
    """Draw ε by rejection and v from N(0, I), for concentrations `kappa` (n,).

    Warns
    -----
    NumericalWarning
        If a draw is not accepted after 10,000 rounds (the original prints a line and goes on, too).
    """
    kappa = np.asarray(kappa, dtype=np.float64)
    n = len(kappa)
    epsilon = np.empty(n)
    open_rows = np.arange(n)
    for _ in range(10_000):
        proposal = rng.beta(0.5 * (k - 1), 0.5 * (k - 1), open_rows.size)
        accepted = accept_epsilon(proposal, rng.random(open_rows.size), kappa[open_rows], k)
        epsilon[open_rows] = proposal
        open_rows = open_rows[~accepted]
        if open_rows.size == 0:
            break
    else:
        import warnings

        warnings.warn(
            f"the vMF sampler accepted nothing in 10,000 rounds for {open_rows.size} row(s); their last "
            "proposals are used. Is kappa finite?",
            NumericalWarning,
            stacklevel=2,
        )
    return VMFDraws(epsilon, rng.standard_normal((n, k - 1)))


def glorot_uniform_from(u: Array) -> Array:
    """Weights (u − ½)·√(24/(in+out)) from uniform draws u (out, in): Flux's `glorot_uniform`."""
    scale = u.dtype.type(np.sqrt(u.dtype.type(24 / sum(u.shape))))
    out: Array = (u - u.dtype.type(0.5)) * scale
    return out


def glorot_uniform(rng: np.random.Generator, outputs: int, inputs: int) -> Array:
    """Weights (outputs, inputs) uniform in ±√(6/(in+out))."""
    return glorot_uniform_from(rng.random((outputs, inputs)))
