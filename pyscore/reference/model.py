"""The model: a spherical autoencoder with a VampPrior, as a frozen dataclass of arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT, Convention
from pyscore.errors import InvalidInput, ShapeError
from pyscore.reference import network, sampling
from pyscore.reference.network import Dense
from pyscore.reference.sphere import normalize, tangent_frame

__all__ = ["SVAE"]

ENCODER_LAYERS = 3
DECODER_LAYERS = 4


@dataclass(frozen=True, eq=False)
class SVAE:
    """Parameters of a spherical VampPrior Wasserstein autoencoder.

    Encoder d→h→h→h with heads mu = normalize(Dense(h→k)) and kappa = 100·sigmoid(Dense(h→1)); decoder
    k→h→h→h→d, last layer linear; prior: uniform mixture of vMF(mu(u_j), kappa(u_j)) over the pseudo-inputs.

    Original: `SVAEvampmeans` (svae_vamp_means.jl).

    Examples
    --------
    >>> model = pyscore.SVAE.initialise(5, latent_dim=3, hidden_dim=8)
    >>> mu, kappa = model.encode(np.zeros((2, 5)))
    >>> mu.shape, kappa.shape, model.decode(mu).shape
    ((2, 3), (2,), (2, 5))
    """

    encoder: tuple[Dense, ...]
    mu: Dense
    kappa: Dense
    decoder: tuple[Dense, ...]
    pseudo_inputs: Array
    """(p, d), trained."""
    activation: str = "swish"

    def __post_init__(self) -> None:
        check.choice("activation", self.activation, network.ACTIVATIONS)
        d, h, k = self.input_dim, self.hidden_dim, self.latent_dim
        if k < 2:
            raise InvalidInput(f"`latent_dim` must be at least 2, since codes lie on a sphere; got {k}.")
        if min(d, h, self.n_components) < 1:
            raise ShapeError(
                f"a model needs features, hidden units and pseudo-inputs; got {d}, {h} and {self.n_components}."
            )
        wanted = parameter_shapes(d, k, h, self.n_components)
        for name, value in self.parameters().items():
            if value.shape != wanted.get(name):
                raise ShapeError(f"parameter `{name}` must have shape {wanted.get(name)}; got {value.shape}.")
            if value.dtype != self.dtype:
                raise InvalidInput(f"parameter `{name}` must be {self.dtype} like the rest; got {value.dtype}.")

    # ── sizes ──

    @property
    def input_dim(self) -> int:
        """Number of features d."""
        return int(self.encoder[0].weight.shape[1])

    @property
    def hidden_dim(self) -> int:
        """Width h of the hidden layers."""
        return int(self.encoder[0].weight.shape[0])

    @property
    def latent_dim(self) -> int:
        """Dimension k of the space that holds the sphere of codes."""
        return int(self.mu.weight.shape[0])

    @property
    def n_components(self) -> int:
        """Number p of pseudo-inputs."""
        return int(self.pseudo_inputs.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of every parameter, float32 or float64."""
        return self.pseudo_inputs.dtype

    # ── parameters by name ──

    def _items(self) -> Iterator[tuple[str, Array]]:
        named = [(f"encoder.{i}", layer) for i, layer in enumerate(self.encoder)]
        named += [("mu", self.mu), ("kappa", self.kappa)]
        named += [(f"decoder.{i}", layer) for i, layer in enumerate(self.decoder)]
        for name, layer in named:
            yield f"{name}.weight", layer.weight
            yield f"{name}.bias", layer.bias
        yield "pseudo_inputs", self.pseudo_inputs

    def parameters(self) -> dict[str, Array]:
        """Return all arrays by name, in the fixed order in which files and the optimiser hold them."""
        return dict(self._items())

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, ArrayLike], activation: str = "swish") -> SVAE:
        """Build a model from the arrays of `parameters()`.

        Raises
        ------
        InvalidInput, ShapeError
            If a name is missing or unknown, or if the shapes do not fit together.
        """
        wanted = set(parameter_shapes(2, 2, 2, 2))
        if set(parameters) != wanted:
            missing, extra = sorted(wanted - set(parameters)), sorted(set(parameters) - wanted)
            raise InvalidInput(
                f"`parameters` must hold the arrays of an SVAE; missing {missing}, unknown {extra}."
            )
        axes = {True: 2, False: 1}
        arrays = {}
        for name, value in parameters.items():
            raw = np.asarray(value)
            letters = ("a", "b")[: axes[not name.endswith("bias")]]
            kind = raw.dtype if raw.dtype in (np.float32, np.float64) else np.float64
            arrays[name] = np.ascontiguousarray(check.array(name, raw, letters, dtype=kind))

        def dense(name: str) -> Dense:
            return Dense(arrays[f"{name}.weight"], arrays[f"{name}.bias"])

        return cls(
            encoder=tuple(dense(f"encoder.{i}") for i in range(ENCODER_LAYERS)),
            mu=dense("mu"),
            kappa=dense("kappa"),
            decoder=tuple(dense(f"decoder.{i}") for i in range(DECODER_LAYERS)),
            pseudo_inputs=arrays["pseudo_inputs"],
            activation=activation,
        )

    @classmethod
    def initialise(
        cls,
        input_dim: int,
        latent_dim: int = 4,
        hidden_dim: int = 32,
        n_components: int = 4,
        *,
        activation: str = "swish",
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> SVAE:
        """Draw a model as Flux does: weights uniform in ±√(6/(in+out)), biases 0, pseudo-inputs on the sphere.

        Raises
        ------
        InvalidInput
            If a size is below 1, or `latent_dim` is below 2 or above `input_dim`.
        """
        check.integer("input_dim", input_dim, at_least=2, hint="A model needs at least two features.")
        check.integer("latent_dim", latent_dim, at_least=2, hint="Codes lie on a sphere in R^latent_dim.")
        check.integer("hidden_dim", hidden_dim, at_least=1)
        check.integer("n_components", n_components, at_least=1)
        if latent_dim > input_dim:
            raise InvalidInput(
                f"`latent_dim` must be at most the number of features, {input_dim}; got {latent_dim}. "
                "A manifold has no more dimensions than the space it lies in: choose a smaller latent_dim."
            )
        dtype = check.floating("dtype", dtype)
        rng = sampling.generator(seed, "initialise")
        parameters = {}
        for name, shape in parameter_shapes(input_dim, latent_dim, hidden_dim, n_components).items():
            if name.endswith("weight"):
                value = sampling.glorot_uniform(rng, *shape)
            elif name == "pseudo_inputs":
                value = normalize(rng.standard_normal(shape))
            else:
                value = np.zeros(shape)
            parameters[name] = value.astype(dtype)
        return cls.from_parameters(parameters, activation)

    def astype(self, dtype: Any) -> SVAE:
        """Return the same model with parameters of another type."""
        dtype = check.floating("dtype", dtype)
        cast = {name: value.astype(dtype) for name, value in self.parameters().items()}
        return SVAE.from_parameters(cast, self.activation)

    def digest(self) -> str:
        """Return the SHA-256 of activation, shapes and parameters. Only models of equal bits share it."""
        state = hashlib.sha256(self.activation.encode())
        for name, value in self.parameters().items():
            state.update(f"{name}{value.dtype.str}{value.shape}".encode())
            state.update(np.ascontiguousarray(value).tobytes())
        return state.hexdigest()

    # ── the two maps, as the reference computes them ──

    def encode(self, x: ArrayLike, *, convention: Convention = EXACT) -> tuple[Array, Array]:
        """Mean directions mu(x) (n, k) and concentrations kappa(x) (n,). Original: `zparams`."""
        x = check.matrix("x", x, self.input_dim)
        return network.encoder_heads(x, self.encoder, self.mu, self.kappa, self.activation, convention=convention)

    def encode_pseudo_inputs(self, *, convention: Convention = EXACT) -> tuple[Array, Array]:
        """Components of the prior: mean directions (p, k) and concentrations (p,)."""
        return self.encode(self.pseudo_inputs, convention=convention)

    def decode(self, z: ArrayLike) -> Array:
        """Points decode(z) (n, d) on the manifold. Original: `m.g`."""
        return network.mlp(check.matrix("z", z, self.latent_dim), self.decoder, self.activation)

    def decoder_jacobian(self, z: ArrayLike, *, tangent: bool = False) -> Array:
        """Jacobian (n, d, k) of decode at z, or (n, d, k−1) in the tangent frame. Original: `jacobian_decoder`."""
        z = check.matrix("z", z, self.latent_dim)
        jacobian = network.mlp_jacobian(z, self.decoder, self.activation)[1]
        return jacobian @ tangent_frame(z) if tangent else jacobian

    def decoder_bend(self, z: ArrayLike, weights: ArrayLike) -> Array:
        """Hessians (n, k, k) of Σ_m weights_m·decode(z)_m for weights (n, d)."""
        z = check.matrix("z", z, self.latent_dim)
        weights = check.array("weights", weights, (z.shape[0], self.input_dim))
        return network.mlp_hessian(z, self.decoder, self.activation, weights)

    def encoder_jacobian(self, x: ArrayLike, *, convention: Convention = EXACT) -> Array:
        """Jacobian (n, k, d) of mu at x. Original: `jacobian_encoder`."""
        x = check.matrix("x", x, self.input_dim)
        return network.encoder_jacobian(x, self.encoder, self.mu, self.activation, convention=convention)[1]


def parameter_shapes(d: int, k: int, h: int, p: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, in order."""
    sizes = {"encoder.0": (h, d), "encoder.1": (h, h), "encoder.2": (h, h), "mu": (k, h), "kappa": (1, h)}
    sizes |= {"decoder.0": (h, k), "decoder.1": (h, h), "decoder.2": (h, h), "decoder.3": (d, h)}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (out, inputs) in sizes.items():
        shapes[f"{name}.weight"] = (out, inputs)
        shapes[f"{name}.bias"] = (out,)
    shapes["pseudo_inputs"] = (p, d)
    return shapes
