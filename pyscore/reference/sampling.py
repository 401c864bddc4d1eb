"""Random draws. All of pyscore's random numbers come from this file, unless the caller passes draws of its own.

Each (seed, stream, index) has a generator of its own, so a draw does not depend on how many draws came before it
or on what else is computed. A resumed run, and a model trained in a stack, therefore repeat the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.errors import NumericalWarning, ShapeError
from pyscore.reference.sphere import EPS32, householder, normalize

__all__ = [
    "TrainingDraws",
    "VMFDraws",
    "accept_epsilon",
    "draw_vmf",
    "generator",
    "glorot_uniform",
    "glorot_uniform_from",
    "importance_draws",
    "row_keys",
    "sample_vmf",
    "unit_interval",
]

ROUNDS = 10_000
"""Proposals that the sampler tries for a row before it gives up."""

_HASH_START, _HASH_FACTOR = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15)
_PHILOX_M = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_PHILOX_W = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)

STREAMS = {
    "initialise": 0, "train": 1, "importance": 2, "goodness": 3, "validation": 4,
    "known_anomalies": 20, "costly_rows": 21, "classifier": 22,
    "toy": 50,
    "projection": 60,
    "manifold": 70,
    "unreliable": 40, "baselines": 41,
}  # fmt: skip


def generator(seed: int, stream: str, index: int = 0) -> np.random.Generator:
    """Return the Philox generator of one (seed, stream, index)."""
    check.integer("seed", seed, at_least=0)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, STREAMS[stream], index])))


class VMFDraws(NamedTuple):
    """The random numbers that `sample_vmf` needs."""

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
        If a draw is not accepted after 10,000 rounds. The last proposal is used, as in the original, which prints
        a line.
    """
    kappa = np.asarray(kappa, dtype=np.float64)
    n = len(kappa)
    epsilon = np.empty(n)
    open_rows = np.arange(n)
    for _ in range(ROUNDS):
        proposal = rng.beta(0.5 * (k - 1), 0.5 * (k - 1), open_rows.size)
        accepted = accept_epsilon(proposal, rng.random(open_rows.size), kappa[open_rows], k)
        epsilon[open_rows] = proposal
        open_rows = open_rows[~accepted]
        if open_rows.size == 0:
            break
    else:
        warn_unaccepted(open_rows.size)
    return VMFDraws(epsilon, rng.standard_normal((n, k - 1)))


def row_keys(x: Array) -> NDArray[np.uint64]:
    """Return a hash (n,) of each row of x (n, d): xor, multiply and shift, column by column."""
    bits = (np.asarray(x, dtype=np.float64) + 0.0).view(np.uint64)  # −0 is 0
    keys = np.full(len(bits), _HASH_START, np.uint64)
    for column in bits.T:
        keys = (keys ^ column) * _HASH_FACTOR
        keys ^= keys >> np.uint64(32)
    return keys


def draw_seed(seed: int) -> int:
    """Return the seed modulo 2⁶⁴, as Philox takes it; raise InvalidInput if it is negative or not an integer."""
    return check.integer("seed", seed, at_least=0) % 2**64


def importance_draws(keys: NDArray[np.uint64], kappa: Array, k: int, s: int, seed: int) -> VMFDraws:
    """Draw ε (n·s,) and v (n·s, k−1), s draws a row, which depend on (seed, key, κ) of that row alone.

    Draw i of a row is made as `TrainingDraws.vmf` makes row i, from Philox with the key (seed, key of the row) and
    the counter (·, round, stream, 0). `pyscore.kernels.cpu._draws` computes the same numbers.

    Warns
    -----
    NumericalWarning
        See `draw_vmf`.
    """
    seed = draw_seed(seed)
    kappa = np.repeat(np.asarray(kappa, dtype=np.float64), s)
    keys, draw = np.repeat(keys, s), np.tile(np.arange(s, dtype=np.uint64), len(keys))
    epsilon, v = np.empty(len(kappa)), np.empty((len(kappa), k - 1))
    pairs = (k + 1) // 2
    blocks = (2 * pairs + 4) // 4
    open_rows = np.arange(len(kappa))
    for attempt in range(ROUNDS):
        first = draw[open_rows] * np.uint64(blocks) + np.uint64(1)
        words = [
            philox((first + np.uint64(b), attempt, STREAMS["importance"], 0), (seed, keys[open_rows]))
            for b in range(blocks)
        ]
        u = unit_interval(np.stack([word for block in words for word in block], axis=1))
        g = box_muller(u, pairs)[:, :k]
        epsilon[open_rows] = 0.5 * (1 + g[:, 0] / np.sqrt(np.sum(g * g, axis=1)))
        v[open_rows] = g[:, 1:]
        accepted = accept_epsilon(epsilon[open_rows], u[:, 2 * pairs], kappa[open_rows], k)
        open_rows = open_rows[~accepted]
        if open_rows.size == 0:
            break
    else:
        warn_unaccepted(open_rows.size)
    return VMFDraws(epsilon, v)


def philox(counter: Sequence[Any], key: Sequence[Any]) -> list[NDArray[np.uint64]]:
    """Return the four words of Philox 4×64-10 (Salmon, Moraes, Dror, Shaw 2011) at counters and keys."""
    c0, c1, c2, c3, k0, k1 = np.broadcast_arrays(*(np.asarray(c, np.uint64) for c in (*counter, *key)))
    with np.errstate(over="ignore"):
        for _ in range(10):
            (h0, l0), (h1, l1) = _product(_PHILOX_M[0], c0), _product(_PHILOX_M[1], c2)
            c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
            k0, k1 = k0 + _PHILOX_W[0], k1 + _PHILOX_W[1]
    return [c0, c1, c2, c3]


def _product(a: np.uint64, b: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Upper and lower 64 bits of a·b, from products of halves."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    a_high, a_low, b_high, b_low = a >> half, a & low, b >> half, b & low
    middle = a_high * b_low + (a_low * b_low >> half)
    other = a_low * b_high + (middle & low)
    return a_high * b_high + (middle >> half) + (other >> half), a * b


def box_muller(u: Array, pairs: int) -> Array:
    """Normals (n, 2·pairs) from the first 2·pairs columns of uniform numbers."""
    radius, angle = np.sqrt(-2 * np.log(u[:, 0 : 2 * pairs : 2])), 2 * np.pi * u[:, 1 : 2 * pairs : 2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2).reshape(len(u), 2 * pairs)


@dataclass(frozen=True)
class TrainingDraws:
    """The draws of one training step. (seed, step, purpose) decides them, not the order in which they are made.

    Words come from Philox with the key (seed, stream) and the counter (·, purpose, step, 0). The compiled
    trainer (`pyscore.kernels.cpu._philox`) computes the same words wherever it needs them.
    """

    seed: int
    step: int

    def batch(self, rows: int, size: int) -> NDArray[np.int64]:
        """Indices (size,) of the rows of the batch, with replacement: ⌊word·rows/2⁶⁴⌋."""
        return _below(self._words(0, size), rows)

    def components(self, p: int, size: int) -> NDArray[np.int64]:
        """Indices (size,) of the prior components."""
        return _below(self._words(1, size), p)

    def vmf(self, kappa: Array, k: int) -> VMFDraws:
        """Draw ε and v from one normal vector g of k: ε = (1 + g₀/‖g‖)/2 is Beta((k−1)/2, (k−1)/2), v is the rest.

        Warns
        -----
        NumericalWarning
            See `draw_vmf`.
        """
        kappa = np.asarray(kappa, dtype=np.float64)
        epsilon, v = np.empty(len(kappa)), np.empty((len(kappa), k - 1))
        open_rows = np.arange(len(kappa))
        for attempt in range(ROUNDS):
            g, u = self._proposals(2 + attempt, len(kappa), k)
            g, u = g[open_rows], u[open_rows]
            epsilon[open_rows] = 0.5 * (1 + g[:, 0] / np.sqrt(np.sum(g * g, axis=1)))
            v[open_rows] = g[:, 1:]
            accepted = accept_epsilon(epsilon[open_rows], u, kappa[open_rows], k)
            open_rows = open_rows[~accepted]
            if open_rows.size == 0:
                break
        else:
            warn_unaccepted(open_rows.size)
        return VMFDraws(epsilon, v)

    def _proposals(self, purpose: int, n: int, k: int) -> tuple[Array, Array]:
        """Normals (n, k) by Box and Muller and uniform numbers (n,), from whole blocks of four words a row."""
        pairs = (k + 1) // 2
        width = -(-(2 * pairs + 1) // 4) * 4
        u = unit_interval(self._words(purpose, n * width)).reshape(n, width)
        return box_muller(u, pairs)[:, :k], u[:, 2 * pairs]

    def _words(self, purpose: int, count: int) -> NDArray[np.uint64]:
        key = np.array([self.seed, STREAMS["train"]], dtype=np.uint64)
        counter = np.array([0, purpose, self.step, 0], dtype=np.uint64)
        return np.random.Philox(key=key, counter=counter).random_raw(count)


def unit_interval(words: NDArray[np.uint64]) -> Array:
    """Numbers strictly between 0 and 1: (⌊word/2¹¹⌋ + ½)/2⁵³."""
    out: Array = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return out


def _below(words: NDArray[np.uint64], bound: int) -> NDArray[np.int64]:
    """⌊word·bound/2⁶⁴⌋ for bound < 2³²; no value's probability is off by more than 2⁻⁶⁴."""
    low, high = words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)
    carried = high * np.uint64(bound) + ((low * np.uint64(bound)) >> np.uint64(32))
    return (carried >> np.uint64(32)).astype(np.int64)


def warn_unaccepted(rows: int) -> None:
    """Issue the NumericalWarning of `draw_vmf` for so many draws."""
    import warnings

    warnings.warn(
        f"the vMF sampler accepted nothing in {ROUNDS:,} rounds for {rows} row(s); their last proposals are "
        "used. Is kappa finite?",
        NumericalWarning,
        stacklevel=3,
    )


def glorot_uniform_from(u: Array) -> Array:
    """Weights (u − ½)·√(24/(in+out)) from uniform draws u (out, in): Flux's `glorot_uniform`."""
    scale = u.dtype.type(np.sqrt(u.dtype.type(24 / sum(u.shape))))
    out: Array = (u - u.dtype.type(0.5)) * scale
    return out


def glorot_uniform(rng: np.random.Generator, outputs: int, inputs: int) -> Array:
    """Weights (outputs, inputs) uniform in ±√(6/(in+out))."""
    return glorot_uniform_from(rng.random((outputs, inputs)))


def sample_vmf(
    mu: ArrayLike, kappa: ArrayLike, epsilon: ArrayLike, v: ArrayLike, *, convention: Convention = EXACT
) -> Array:
    """Sample of vMF(mu, kappa) from accepted draws: [w, √(1−w²)·v/|v|] under the reflection that takes e1 to mu.

    w = (1 − (1+b)ε) / (1 − (1−b)ε) with b = (√(4κ²+(k−1)²) − 2κ) / (k−1).

    Parameters
    ----------
    mu : (n, k) array, rows of unit norm, k ≥ 2
    kappa : (n,) array
    epsilon : (n,) array
        Accepted draws of Beta((k−1)/2, (k−1)/2) (see `pyscore.reference.sampling` for the rejection step).
    v : (n, k−1) array
        Draws of N(0, I), not yet normalised.
    convention : Convention
        `norm_eps`: ``"machine"`` puts 10·eps(Float32) under the root and eps into both normalisations.

    Returns
    -------
    (n, k) array.

    Notes
    -----
    Wood's rejection sampler, Davidson 2018, algorithm 1. Original: `samplez` (svae.jl). b is evaluated as
    (k−1)/(√(4κ²+(k−1)²)+2κ), w as (1−ε−bε)/(1−ε+bε) and √(1−w²) as 2√(bε(1−ε))/(1−ε+bε): which are the same
    numbers without cancellation.

    Examples
    --------
    >>> draws = pyscore.reference.sampling.draw_vmf(np.array([10.0]), 3, np.random.default_rng(0))
    >>> z = pyscore.reference.sample_vmf([[1.0, 0.0, 0.0]], [10.0], *draws)
    >>> bool(np.isclose(np.linalg.norm(z), 1.0))
    True
    """
    mu = check.matrix("mu", mu, "k")
    n, k = mu.shape
    if k < 2:
        raise ShapeError(f"`mu` must have at least 2 columns; got shape {mu.shape}.")
    kappa = check.vector("kappa", kappa, n)
    epsilon = check.vector("epsilon", epsilon, n)
    v = check.array("v", v, (n, k - 1))
    b = (k - 1) / (np.sqrt(4 * kappa**2 + (k - 1) ** 2) + 2 * kappa)
    rest, pull = 1 - epsilon, b * epsilon
    w = (rest - pull) / (rest + pull)
    if convention.norm_eps == "machine":
        radius = np.sqrt((1 - w) * (1 + w) + 10 * EPS32)
    else:
        radius = 2 * np.sqrt(pull * rest) / (rest + pull)
    ring = radius[:, None] * normalize(v, convention=convention)
    return householder(np.column_stack([w, ring]), mu, convention=convention)
