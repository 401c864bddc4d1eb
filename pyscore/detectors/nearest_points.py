"""Nearest points of a decoder's manifold, z' = argmin_z ‖x − f(z)‖², from several starts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pyscore._core.checks import Array, Latent
from pyscore.detectors.decoders import Decoder
from pyscore.errors import InvalidInput
from pyscore.reference.minimise import levenberg_marquardt

__all__ = ["Pool", "Projected", "project"]

EXPLORE, ROUND = 8, 20
"""Steps from every start before the best is chosen; and between the rounds in which finished rows drop out."""
BLOCK_NUMBERS = 1 << 22
"""Entries of the Jacobians of one block of rows and starts."""


class Projected(NamedTuple):
    """Nearest points of the manifold and how they were found."""

    z: Array
    """(n, k) codes."""
    residual: Array
    """(n,) ‖x − f(z)‖."""
    gradient_norm: Array
    """(n,) ‖Jᵀe‖ at z, along the sphere if the latent space is one: 0 at a minimum."""
    iterations: Array
    """(n,) steps taken from the start that won, failed ones included."""


class Pool(NamedTuple):
    """Draws of the prior with their images: the starts of a projection that no encoder helps."""

    z: Array
    """(p, k)."""
    x: Array
    """(p, d)."""

    @classmethod
    def of(cls, z: Array, decoder: Decoder) -> Pool:
        """Decode draws z of the prior."""
        x = decoder(z)
        if not np.isfinite(x).all():
            raise InvalidInput("`decoder` must return finite numbers; it does not for draws of the prior.")
        return cls(z, x)

    def starts(self, x: Array, count: int) -> Array:
        """Return (n, count, k) starts: the first draw, and the nearest image in each of count − 1 cells of codes.

        Cells, since the overall nearest ones tend to lie together. No start depends on the other rows of x.
        """
        chosen = np.zeros((len(x), count), np.int64)
        cells = _cells(self.z, count - 1)
        for place in range(1, count):
            cell = np.flatnonzero(cells == place - 1)
            if not cell.size:  # fewer different draws than cells
                continue
            images = self.x[cell]
            distance = np.sum(images**2, axis=1) - 2 * x @ images.T  # less ‖x‖², which all share
            chosen[:, place] = cell[np.argmin(distance, axis=1)]
        return self.z[chosen]


def _cells(z: Array, count: int) -> Array:
    """Voronoi cell (p,) of each code, around `count` of them, each as far as can be from those before."""
    nearest, cell = np.full(len(z), np.inf), np.zeros(len(z), np.int64)
    anchor = 0
    for place in range(count):
        distance = np.sum((z - z[anchor]) ** 2, axis=1)
        cell[distance < nearest] = place
        nearest = np.minimum(nearest, distance)
        anchor = int(np.argmax(nearest))
    return cell


def project(
    x: Array,
    decoder: Decoder,
    pool: Pool,
    *,
    latent: Latent,
    encoded: Array | None = None,
    starts: int = 4,
    steps: int = 100,
) -> Projected:
    """argmin_z ‖x − f(z)‖² by damped Newton steps, along the sphere or in R^k, from several starts.

    Parameters
    ----------
    x : (n, d) array
    decoder : Decoder
    pool : Pool
        Draws of the prior, from which the starts are taken.
    latent : {"sphere", "euclidean"}
    encoded : (n, k) array, optional
        Codes of an encoder: one start more, so that the result is never worse than them.
    starts : int
        Starts from the pool.
    steps : int
        At most so many from the best start.

    Returns
    -------
    Projected

    Notes
    -----
    Section 3.3. A nonconvex problem: the best of several local minima, with no promise that it is the global one.
    A row far from the manifold has more of them; `gradient_norm` says whether a minimum was reached at all.
    """
    count = starts + (encoded is not None)
    rows = max(1, BLOCK_NUMBERS // (count * x.shape[1] * pool.z.shape[1]))
    found = []
    for start in range(0, max(len(x), 1), rows):
        here = slice(start, start + rows)
        first = pool.starts(x[here], starts)
        if encoded is not None:
            first = np.concatenate([encoded[here, None], first], axis=1)
        found.append(_project_block(x[here], first, decoder, float(np.sqrt(np.mean(pool.x**2))), latent, steps))
    return Projected(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _project_block(
    x: Array, first: Array, decoder: Decoder, scale: float, latent: Latent, steps: int
) -> Projected:
    """Explore from all starts (n, s, k), then go on from the best one, in rounds."""
    n, count, k = first.shape
    every = np.repeat(x, count, axis=0)
    z, gradient, iterations = _descend(every, first.reshape(-1, k), decoder, scale, latent, min(EXPLORE, steps))
    distance = np.linalg.norm(every - decoder(z), axis=1).reshape(n, count)
    best = np.arange(n) * count + np.argmin(distance, axis=1)  # the first of equals: the encoder's
    z, gradient, iterations = z[best], gradient[best], iterations[best]
    taken = min(EXPLORE, steps)
    open_rows = np.flatnonzero(iterations == taken)
    while taken < steps and open_rows.size:
        todo = min(ROUND, steps - taken)
        z[open_rows], gradient[open_rows], more = _descend(
            x[open_rows], z[open_rows], decoder, scale, latent, todo
        )
        iterations[open_rows] += more
        taken, open_rows = taken + todo, open_rows[more == todo]
    return Projected(z, np.linalg.norm(x - decoder(z), axis=1), gradient, iterations)


def _descend(
    x: Array, z: Array, decoder: Decoder, scale: float, latent: Latent, steps: int
) -> tuple[Array, Array, Array]:
    """Levenberg-Marquardt in units of the data's size: its bound on rounding takes an objective of order one."""
    unit = scale or 1.0
    with np.errstate(over="ignore", invalid="ignore"):  # a step too far is not taken, whatever it overflows to
        found = levenberg_marquardt(
            x / unit,
            z,
            lambda z: decoder(z) / unit,
            lambda z: decoder.jacobian(z) / unit,
            lambda z, weights: decoder.bend(z, weights / unit),
            latent=latent,
            steps=steps,
            eps=decoder.eps,
        )
    return found.z, found.gradient_norm * unit**2, found.iterations
