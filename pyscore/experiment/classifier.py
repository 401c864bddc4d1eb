"""A classifier two-sample test: can a small network tell the codes of data from samples of the prior?"""

from __future__ import annotations

import numpy as np

from pyscore._core.checks import Array
from pyscore._core.constants import BETAS
from pyscore.convention import ORIGINAL, Convention
from pyscore.experiment.goodness import sample_prior
from pyscore.reference import sampling
from pyscore.reference.model import SVAE

__all__ = ["CHANCE", "MOST_CODES", "train_disc"]

CHANCE = float(-np.log(1 / 3) / 3 - np.log(2 / 3) * 2 / 3)
"""Cross-entropy 0.6365 nats of a classifier that knows only that one row in three is a code."""
MOST_CODES = 2000
HIDDEN = 64
BATCH = 100
RATE = 1e-3

Layers = list[Array]


def train_disc(
    model: SVAE, x: Array, *, steps: int = 500, seed: int = 0, convention: Convention = ORIGINAL
) -> float:
    """Mean cross-entropy, in nats, of a classifier of codes (1) against twice as many prior samples (0).

    `CHANCE` = 0.6365 means that the network finds no difference between codes and prior samples; 0 means that it
    tells every one of them apart. A network k→64→64→1 with swish and a logistic output (the original has
    two outputs and a softmax: the same family) is trained by ADAM on batches of 100, drawn with replacement; the
    loss returned is that of all rows that it was trained on, as in the original, so overfitting also lowers it.

    Parameters
    ----------
    model : SVAE
    x : (n, d) array, training rows, contamination included; at most 2,000 of them are used
    steps : int
        The original, where this test is commented out, takes 10,000, at 2 s a model.
    seed : int
    convention : Convention
        `norm_eps`: it moves a code by 1e-7, so one value serves all conventions.

    Notes
    -----
    Lopez-Paz, Oquab 2017. Original: `train_disc` of the scripts.
    """
    rng = sampling.generator(seed, "classifier")
    codes, _ = model.encode(x[rng.permutation(len(x))[:MOST_CODES]], convention=convention)
    samples = sample_prior(model, 2 * len(codes), rng, convention=convention)
    rows = np.concatenate([codes, samples]).astype(np.float32)
    labels = np.repeat(np.array([1, 0], np.float32), [len(codes), len(samples)])
    values = _initialise(rows.shape[1], rng)
    layers, m, v = _layers(values, rows.shape[1]), np.zeros_like(values), np.zeros_like(values)
    for step in range(1, steps + 1):
        batch = rng.integers(len(rows), size=BATCH)
        gradient = _gradient(layers, rows[batch], labels[batch])
        m += np.float32(1 - BETAS[0]) * (gradient - m)
        v += np.float32(1 - BETAS[1]) * (gradient * gradient - v)
        rate = RATE * np.sqrt(1 - BETAS[1] ** step) / (1 - BETAS[0] ** step)
        values -= np.float32(rate) * m / (np.sqrt(v) + np.float32(1e-8))
    logit = _forward(layers, rows)[-1]
    return float(np.mean(np.logaddexp(0.0, np.where(labels == 1, -logit, logit), dtype=np.float64)))


def _initialise(k: int, rng: np.random.Generator) -> Array:
    """Weights and biases in turn, flat, as Flux draws them."""
    parts = []
    for inputs, out in _sizes(k):
        parts += [sampling.glorot_uniform(rng, out, inputs).T.ravel(), np.zeros(out)]
    return np.concatenate(parts).astype(np.float32)


def _sizes(k: int) -> tuple[tuple[int, int], ...]:
    return (k, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)


def _layers(values: Array, k: int) -> Layers:
    """Views of a flat vector: weights (inputs, outputs) and biases in turn."""
    views, at = [], 0
    for inputs, out in _sizes(k):
        views += [values[at : at + inputs * out].reshape(inputs, out), values[at + inputs * out :][:out]]
        at += (inputs + 1) * out
    return views


def _sigmoid(x: Array) -> Array:
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))


def _forward(layers: Layers, x: Array) -> list[Array]:
    """Rows, both hidden layers with the sigmoids of their inputs, and the logit."""
    w1, b1, w2, b2, w3, b3 = layers
    a1 = x @ w1 + b1
    s1 = _sigmoid(a1)
    h1 = a1 * s1
    a2 = h1 @ w2 + b2
    s2 = _sigmoid(a2)
    h2 = a2 * s2
    return [x, s1, h1, s2, h2, (h2 @ w3 + b3)[:, 0]]


def _gradient(layers: Layers, x: Array, labels: Array) -> Array:
    """Gradient of the mean cross-entropy of a batch, flat; swish' = s + h·(1 − s)."""
    _, s1, h1, s2, h2, logit = _forward(layers, x)
    d3 = ((_sigmoid(logit) - labels) / np.float32(len(x)))[:, None]
    d2 = (d3 @ layers[4].T) * (s2 + h2 * (1 - s2))
    d1 = (d2 @ layers[2].T) * (s1 + h1 * (1 - s1))
    parts = (x.T @ d1, d1.sum(axis=0), h1.T @ d2, d2.sum(axis=0), h2.T @ d3, d3.sum(axis=0))
    return np.concatenate([part.ravel() for part in parts])
