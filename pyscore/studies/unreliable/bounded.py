"""A bounded latent space bounds the distance of points that are reconstructed perfectly.

Theorem. Let f = W_L φ(… φ(W_1 z + b_1) …) + b_L be evaluated on codes with ‖z‖ ≤ ρ, and let φ act elementwise with
|φ(a)| ≤ α|a| + β and |φ(a)| ≤ γ (γ may be ∞). Then with h_0 = ρ, u_l = ‖W_l‖₂ h_{l−1} + ‖b_l‖ and
h_l = min(α u_l + β √n_l, γ √n_l), where n_l is the width of layer l, ‖f(z)‖ ≤ B = u_L. So, whatever the encoder,

    ‖x‖ > B + r   implies   ‖x − f(g(x))‖² > r².

The bound is finite if the code space is bounded (unit sphere: ρ = 1) or the activation is (sigmoid, tanh: γ = 1,
even with ρ = ∞). Swish, ReLU, ELU and GELU have α = 1, β = 0, γ = ∞: with an unbounded code there is no bound. For
swish, ReLU and GELU φ(a) − φ(−a) = a, so two units together pass on any number unchanged; `identity_autoencoder`
uses this to build a network that equals PCA. The bound is on ‖x‖, measured from the origin (the mean of
standardised data): it says nothing about points inside the ball of radius B, where an anomaly may still be
reconstructed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.detectors.autoencoder import Autoencoder
from pyscore.errors import InvalidInput
from pyscore.reference.model import SVAE
from pyscore.reference.network import Dense
from pyscore.studies.unreliable.linear import Subspace

__all__ = ["GROWTH", "Growth", "decoder_range_bound", "error_bound", "identity_autoencoder", "range_bound"]

EPS = float(np.finfo(np.float64).eps)
K_BOUND = 4.0
"""Each layer multiplies the bound by 1 + K·(n + m)·eps, for the rounding of its norms and of the network."""


class Growth(NamedTuple):
    """|φ(a)| ≤ slope·|a| + offset and |φ(a)| ≤ ceiling."""

    slope: float
    offset: float
    ceiling: float


GROWTH: dict[str, Growth] = {
    "swish": Growth(1.0, 0.0, math.inf),
    "relu": Growth(1.0, 0.0, math.inf),
    "leaky_relu": Growth(1.0, 0.0, math.inf),
    "elu": Growth(1.0, 0.0, math.inf),
    "gelu": Growth(1.0, 0.0, math.inf),
    "identity": Growth(1.0, 0.0, math.inf),
    "softplus": Growth(1.0, math.log(2.0), math.inf),
    "tanh": Growth(1.0, 0.0, 1.0),
    "sigmoid": Growth(0.25, 0.5, 1.0),
}
"""Growth bounds of each activation."""


def range_bound(layers: Sequence[Dense], activation: str, latent_radius: float) -> float:
    """B with ‖f(z)‖ ≤ B for all ‖z‖ ≤ latent_radius (which may be ∞), f the network of these layers."""
    growth = GROWTH[check.choice("activation", activation, GROWTH)]
    h = float(latent_radius)
    u = h
    for index, (weight, bias) in enumerate(layers):
        w, b = np.asarray(weight, np.float64), np.asarray(bias, np.float64)
        norm = float(np.linalg.norm(w, 2))
        u = (norm * h if norm else 0.0) + float(np.linalg.norm(b))
        u *= 1 + K_BOUND * sum(w.shape) * EPS
        if index < len(layers) - 1:
            root = math.sqrt(len(b))
            h = min(growth.slope * u + growth.offset * root, growth.ceiling * root)
    return u


def decoder_range_bound(model: SVAE | Autoencoder) -> float:
    """B with ‖decode(z)‖ ≤ B for every code: ∞ where the code and the activation are both unbounded."""
    spherical = isinstance(model, SVAE) or model.latent == "sphere"
    radius = 1 + K_BOUND * model.latent_dim * EPS if spherical else math.inf
    return range_bound(model.decoder, model.activation, radius)


def error_bound(model: SVAE | Autoencoder, x: ArrayLike) -> Array:
    """max(0, ‖x‖ − B)² (n,): no encoder makes the squared reconstruction error of x smaller."""
    length = np.linalg.norm(check.matrix("x", x, model.input_dim), axis=1)
    return np.maximum(0.0, length - decoder_range_bound(model)) ** 2


def identity_autoencoder(subspace: Subspace, activation: str = "swish") -> Autoencoder:
    """Autoencoder [d, 2k, k, 2k, d] that equals PCA everywhere: φ(a) − φ(−a) = a for swish, ReLU and GELU.

    Raises
    ------
    InvalidInput
        If the activation lacks that identity.
    """
    if activation not in ("swish", "relu", "gelu"):
        raise InvalidInput(
            f"`activation` must be 'swish', 'relu' or 'gelu', which carry a number; got {activation!r}."
        )
    mean, v = subspace
    k = v.shape[1]
    split, join = np.concatenate([v.T, -v.T]), np.hstack([np.eye(k), -np.eye(k)])
    encoder = Dense(split, -split @ mean), Dense(join, np.zeros(k))
    decoder = Dense(join.T, np.zeros(2 * k)), Dense(v @ join, mean)
    return Autoencoder(encoder, decoder, activation)
