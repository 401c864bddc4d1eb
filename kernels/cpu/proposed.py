"""All terms of the proposed score in one pass: x → mu(x) → decode, its volume, likelihood and prior."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore.errors import ShapeError
from pyscore.kernels.cpu._compile import compiled, njit
from pyscore.kernels.cpu._jacobian import store_volume, tangent_columns
from pyscore.kernels.cpu._network import INPUTS, OUTPUTS, Layers, Packed, aligned, pack, push
from pyscore.kernels.cpu._simd import LANES, store
from pyscore.kernels.cpu._terms import likelihood_tile, normalize_column, prior_tile
from pyscore.kernels.cpu._threads import share
from pyscore.kernels.cpu._tiles import GROUPS, SERIAL_TILES, copy_lanes, load_rows, matrix, store_lanes, store_rows
from pyscore.kernels.cpu.log_likelihood import likelihood_constants
from pyscore.kernels.cpu.log_prior import prior_arrays

__all__ = ["Terms", "proposed"]


class Terms(NamedTuple):
    """Named terms of each row; the score is their signed sum."""

    log_likelihood: NDArray
    """(n,) float64, nats."""
    log_prior: NDArray
    """(n,) float64, nats."""
    volume: NDArray
    """(n,) float64, nats, of the decoder at z."""
    smallest: NDArray
    """(n,) float64, least |r_jj|."""
    largest: NDArray
    """(n,) float64, largest |r_jj|."""
    z: NDArray
    """(n, k) in the network's dtype, or (0, k) if not asked for."""
    decoded: NDArray
    """(n, d) in the network's dtype, or (0, d) if not asked for."""


@njit
def _store_terms(
    x, x_at, z, z_at, decoded, at, first, precision, constant, prior, work, lanes, likelihood, density
):
    """Likelihood and prior of one group."""
    store(lanes, 0, likelihood_tile(x, x_at, decoded, at, precision, constant))
    store_lanes(lanes, 0, first, likelihood)
    mu, kappa, log_weight = prior
    store(lanes, 0, prior_tile(z, z_at, mu, kappa, log_weight, work))
    store_lanes(lanes, 0, first, density)


@compiled
def _run(first, last, encoder, decoder, code, widest, x, tangent, eps, precision, constant, prior, groups, terms):
    """Do the tiles `first` … `last`, `groups` at a time: encoder, normalize, decoder with tangents, terms."""
    likelihood, density, volume, smallest, largest, z, decoded = terms
    d, k = x.shape[1], z.shape[1]
    columns, step = k if tangent else k + 1, widest * LANES
    a, b = aligned(groups * columns * step, x), aligned(groups * columns * step, x)
    inputs, codes, slopes = aligned(groups * step, x), aligned(groups * step, x), aligned(step, x)
    heads = aligned(groups * step, x)
    work, lanes = aligned(max(d * columns, prior[0].shape[0]) * LANES, volume), aligned(3 * LANES, volume)
    for start in range(first, last, groups):
        here = min(groups, last - start)
        for g in range(here):
            load_rows(x, (start + g) * LANES, inputs, g * step)
            copy_lanes(inputs, g * step, b, g * step, d)
        head = push(encoder[0], encoder[1], code, b, heads, step, here, 1, slopes, 0)
        for g in range(here):
            at = g * columns * step
            normalize_column(head, g * step, codes, g * step, k, eps)
            copy_lanes(codes, g * step, a, at, k)
            tangent_columns(a, at, a, at + step, step, k, tangent)
        result = push(decoder[0], decoder[1], code, a, b, step, here, columns, slopes, 0)
        for g in range(here):
            at, row = g * columns * step, (start + g) * LANES
            _store_terms(
                inputs, g * step, codes, g * step, result, at, row, precision, constant, prior, work, lanes,
                likelihood, density,
            )  # fmt: skip
            store_volume(result, at + step, step, d, columns - 1, work, lanes, row, volume, smallest, largest)
            if z.shape[0]:
                store_rows(codes, g * step, row, z)
            if decoded.shape[0]:
                store_rows(result, at, row, decoded)


def proposed(
    encoder: Layers | Packed,
    decoder: Layers | Packed,
    activation: str,
    x: ArrayLike,
    mu_u: ArrayLike,
    kappa_u: ArrayLike,
    log_normaliser: ArrayLike,
    tangent: bool = True,
    *,
    sigma2: ArrayLike = 1.0,
    log_two_pi: float | None = None,
    norm_eps: float = 0.0,
    keep: frozenset[str] = frozenset(),
    groups: int = GROUPS,
) -> Terms:
    """log p(x|z), log p(z) and log-volume of the decoder at z = mu(x), for every row of x.

    Parameters
    ----------
    encoder, decoder : sequences of (weight (out, in), bias (out,)), or what `pack` made of them
        The encoder's last layer is the head that is normalised to z.
    activation : str
        After every layer but the last ones; ignored for packed layers, which know theirs.
    x : (n, d) array of the layers' dtype
    mu_u, kappa_u, log_normaliser : (p, k), (p,), (p,) arrays
        Components of the prior; see `log_prior`.
    tangent : bool
        Restrict the Jacobian to the tangent space of the sphere at z (EXACT), or not (ORIGINAL).
    sigma2 : float or (d,) array
        Variance of the noise.
    log_two_pi : float, optional
        d·log 2π, for a convention that rounds it.
    norm_eps : float
        What `normalize` adds inside its root.
    keep : set of names
        ``"z"`` and ``"decoded"`` return these as well.
    groups : int
        Tiles a block. Changes the time, never a bit of the result.

    Returns
    -------
    Terms

    Notes
    -----
    Equation (7). Original: column `log_pxv_pz_jaco_deco`, three passes and one gradient a sample and feature.
    """
    packed_encoder = encoder if isinstance(encoder, Packed) else pack(encoder, activation)
    packed_decoder = decoder if isinstance(decoder, Packed) else pack(decoder, activation)
    d, k = int(packed_encoder.plan[0, INPUTS]), int(packed_encoder.plan[-1, OUTPUTS])
    got = int(packed_decoder.plan[0, INPUTS]), int(packed_decoder.plan[-1, OUTPUTS])
    if got != (k, d):
        raise ShapeError(f"`decoder` must map {k} latents to {d} features, the encoder's reverse; got {got}.")
    x = matrix("x", x, d, packed_encoder.values.dtype)
    n = x.shape[0]
    z = np.empty((n if "z" in keep else 0, k), x.dtype)
    terms = Terms(*(np.empty(n) for _ in range(5)), z, np.empty((n if "decoded" in keep else 0, d), x.dtype))
    share(
        _run, -(-n // LANES), SERIAL_TILES,
        packed_encoder[:2], packed_decoder[:2], packed_decoder.activation,
        max(packed_encoder.widest, packed_decoder.widest), x, bool(tangent), float(norm_eps),
        *likelihood_constants(d, sigma2, log_two_pi), prior_arrays(k, mu_u, kappa_u, log_normaliser), groups,
        tuple(terms),
    )  # fmt: skip
    return terms
