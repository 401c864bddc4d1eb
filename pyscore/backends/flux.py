"""FewShotAnomalyDetection.jl by name, in Python: the same functions in the same argument order, run in Julia.

For people who know the original, and for checking a script line by line against it. Everything is computed under
the ORIGINAL convention with the :loop route, which takes one sample at a time as the original does.

**Rows are samples**, as everywhere in pyscore: where the original takes and returns (d, n) arrays, these take and
return (n, d), and its 1×n rows are (n,) vectors here. A single sample may be given as a vector; lists will do.
All densities are log-densities in nats. Models that Julia saved are read by `load` and written by `save`.

Left out are the original's other models (`SVAEbase`, `SVAEvamp`, `SVAEtwocaps`, `VAE`, `VAEvamp`, `VAE_ard`,
`KNNmemory`), which the paper does not use, and what belongs to them alone: `elbo_loss`, `elbo_loss_ard`,
`decomposed_elbo_loss`, `rloss`, `mem_wloss`, `printing_wloss`, `hsplit1softp`, `add_labeled_centroid!`, `x_from_z`
(here `m.g`), `log_det_jacobian_encoder`, `log_det_jacobian_decoder`.

>>> from pyscore.backends.flux import SVAEvampmeans, zparams, log_pz_jacobian_decoder   # doctest: +SKIP
>>> m = SVAEvampmeans(30, 64, 4, 3, "swish", "Dense", 16)                      # doctest: +SKIP
>>> mu, kappa = zparams(m, x)                                                  # doctest: +SKIP
>>> log_pz_jacobian_decoder(m, mu)                                             # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.backends import get_backend
from pyscore.backends.julia_ import JuliaBackend
from pyscore.backends.julia_models import Chain, Layer, read_model, write_model
from pyscore.convention import ORIGINAL
from pyscore.errors import InvalidInput, ShapeError
from pyscore.reference import network, sampling
from pyscore.reference.model import SVAE

__all__ = [
    "Chain", "Layer", "SVAEvampmeans", "correctedjacodeco", "decomposed_wloss", "get_γ", "householderrotation",
    "huentropy", "infer", "jacobian_decoder", "jacobian_encoder", "jacodeco", "k_imq", "kldiv", "load",
    "log_normal",
    "log_px", "log_pxexpectedz", "log_pz", "log_pz_from_z", "log_pz_jacobian_decoder", "log_pz_jacobian_encoder",
    "log_vmf_c", "log_vmf_wo_c", "manifoldz", "mmd_imq", "mmdpval", "normalizecolumns", "null_distr_distances",
    "pairwisecos", "pz", "pz_from_z", "sampleVamp", "samplehsuniform", "samplez", "save", "vmfentropy",
    "wloss", "zfromx", "zparams",
]  # fmt: skip

JULIA_NAMES = {"leakyrelu": "leaky_relu", "σ": "sigmoid", "linear": "identity"}
"""Julia's names of activations that differ from ours."""


def _shared(dtype: Any) -> JuliaBackend:
    """Return the one Julia of this Python."""
    return cast("JuliaBackend", get_backend("julia", dtype=dtype))


@dataclass(frozen=True, eq=False)
class SVAEvampmeans:
    """The original's model: sizes, activation and layer type in its order, then T.

    Parameters
    ----------
    inputDim, hiddenDim, latentDim, numLayers : int
        `numLayers` must be 3: that is what the model has.
    nonlinearity, layerType : str
        The name of an activation (``"swish"`` in the paper), and ``"Dense"``.
    num_pseudoinputs : int
    T : dtype
        Type of all parameters (in the original of the pseudo-inputs alone).
    seed : int, of the initialisation
    backend : JuliaBackend, optional
        The Julia to compute in; by default the one that ``get_backend("julia")`` gives.

    Examples
    --------
    >>> from pyscore.reference.model import SVAE
    >>> SVAE.initialise(5, 2, 8, 3).input_dim  # what `SVAEvampmeans(5, 8, 2, 3, "swish", "Dense", 3).model` is
    5
    """

    model: SVAE
    backend: JuliaBackend

    def __init__(
        self,
        inputDim: int | SVAE,
        hiddenDim: int = 0,
        latentDim: int = 0,
        numLayers: int = 3,
        nonlinearity: str = "swish",
        layerType: str = "Dense",
        num_pseudoinputs: int = 1,
        T: Any = np.float32,
        *,
        seed: int = 0,
        backend: JuliaBackend | None = None,
    ) -> None:
        model = inputDim
        if not isinstance(model, SVAE):
            activation = JULIA_NAMES.get(nonlinearity, nonlinearity)
            if (numLayers, layerType) != (3, "Dense") or activation not in network.ACTIVATIONS:
                raise InvalidInput(
                    "`numLayers`, `nonlinearity`, `layerType` must be 3, the name of an activation "
                    f"({', '.join(network.ACTIVATIONS)}) and 'Dense'; got "
                    f"{numLayers!r}, {nonlinearity!r}, {layerType!r}."
                )
            model = SVAE.initialise(
                model, latentDim, hiddenDim, num_pseudoinputs, activation=activation, seed=seed, dtype=T
            )
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "backend", backend or _shared(model.dtype))

    def q(self, x: ArrayLike) -> Array:
        """Last hidden layer of the encoder, (n, h)."""
        return _each(self, "hidden", x)

    def g(self, z: ArrayLike) -> Array:
        """Decode: (n, k) → (n, d)."""
        return _each(self, "decode", z, latent=True)

    def μzfromhidden(self, hidden: ArrayLike) -> Array:
        """Mean directions (n, k) from the last hidden layer (n, h)."""
        a, single = _rows("hidden", hidden, self.model.hidden_dim, self.backend.dtype)
        return _back(
            normalizecolumns(a @ self.model.mu.weight.T + self.model.mu.bias, backend=self.backend), single
        )

    def κzfromhidden(self, hidden: ArrayLike) -> Array:
        """Concentrations (n,) from the last hidden layer (n, h)."""
        a, single = _rows("hidden", hidden, self.model.hidden_dim, self.backend.dtype)
        raw = (a @ self.model.kappa.weight.T + self.model.kappa.bias)[:, 0]
        return _back(network.ACTIVATIONS["sigmoid"].value(raw) * raw.dtype.type(network.KAPPA_MAX), single)

    @property
    def pseudo_inputs(self) -> Array:
        """Pseudo-inputs of the prior, (p, d); the original holds them as (d, p)."""
        return self.model.pseudo_inputs

    @property
    def zdim(self) -> int:
        """Latent dimension."""
        return self.model.latent_dim

    @property
    def hue(self) -> float:
        """Entropy of the uniform distribution on the sphere of codes."""
        return huentropy(self.zdim, backend=self.backend)


# ── Arguments: rows, single samples as vectors, lists ──


def _rows(name: str, value: ArrayLike, columns: int | str, dtype: Any) -> tuple[Array, bool]:
    """(rows, whether one sample was given as a vector)."""
    raw = np.asarray(value) if not isinstance(value, np.ndarray) else value
    single = raw.ndim == 1
    wanted = f"an (n, {columns}) array whose rows are samples, or one sample as a ({columns},) vector"
    if raw.ndim not in (1, 2):
        raise ShapeError(f"`{name}` must be {wanted}; got shape {raw.shape}.")
    if isinstance(columns, int) and raw.shape[-1] != columns:
        turned = raw.ndim == 2 and raw.shape[0] == columns
        hint = f" The original's arrays hold samples as columns: pass {name}.T." if turned else ""
        raise ShapeError(f"`{name}` must be {wanted}; got shape {raw.shape}.{hint}")
    return check.array(name, raw[None] if single else raw, ("n", columns), dtype=dtype), single


def _back(values: Any, single: bool) -> Any:
    return values[0] if single else values


def _x(m: SVAEvampmeans, value: ArrayLike) -> tuple[Array, bool]:
    return _rows("x", value, m.model.input_dim, m.backend.dtype)


def _z(m: SVAEvampmeans, value: ArrayLike, name: str = "z") -> tuple[Array, bool]:
    return _rows(name, value, m.zdim, m.backend.dtype)


def _each(m: SVAEvampmeans, name: str, value: ArrayLike, *, latent: bool = False, **keywords: Any) -> Any:
    """Call a function of the model on rows; one sample given as a vector gives the result of one."""
    rows, single = _z(m, value) if latent else _x(m, value)
    return _back(m.backend.call(name, m.model, rows, **keywords), single)


def _concentrations(kappa: ArrayLike, n: int, dtype: Any) -> Array:
    """κ for each of n rows, from one number or n."""
    values = check.array("kappa", np.ravel(kappa), ("n",), dtype=dtype)
    if len(values) not in (1, n):
        raise ShapeError(f"`kappa` must be one number, or one for each of the {n} rows; got {len(values)}.")
    return np.repeat(values, n) if len(values) == 1 else values


def _backend(backend: JuliaBackend | None, *arrays: ArrayLike) -> JuliaBackend:
    """The backend given, or the shared one: Float32 where every array is."""
    if backend is not None:
        return backend
    single = all(np.asarray(a).dtype in (np.float32, np.float16) for a in arrays)
    return _shared(np.float32 if single else np.float64)


# ── Files ──


def load(
    path: Any, *, name: str | None = None, activation: str | None = None, backend: JuliaBackend | None = None
) -> SVAEvampmeans | Chain:
    """Read a model that Julia saved: an `SVAEvampmeans`, or a `Chain` of `Dense` layers.

    Reads BSON as BSON.jl writes it (``BSON.@save "m.bson" m``, Flux 0.8 to 0.14), and what `Flux.state` gives.
    Nothing in the file is executed: of its types only the names are read. In an `SVAEvampmeans` the functions
    after the heads are taken to be the original's.

    Parameters
    ----------
    path : path
    name : str, optional
        Which value of the file, where several are models.
    activation : str, optional
        What follows the hidden layers, for files that do not say it (`Flux.state` has arrays alone).
    backend : JuliaBackend, optional
        Where the functions of an `SVAEvampmeans` are computed.

    Raises
    ------
    ModelFileError
        If the file is no model of these kinds; the text names the place.

    Examples
    --------
    >>> import tempfile, os
    >>> from pyscore import flux
    >>> from pyscore.reference.model import SVAE
    >>> path = os.path.join(tempfile.mkdtemp(), "model.bson")
    >>> flux.save(path, SVAE.initialise(5, 2, 8, 3))
    >>> flux.read_model(path).hidden_dim
    8
    """
    model = read_model(path, activation=activation, name=name)
    return SVAEvampmeans(model, backend=backend) if isinstance(model, SVAE) else model


def save(path: Any, model: SVAEvampmeans | SVAE | Chain) -> None:
    """Write a model as BSON that Julia reads: ``BSON.load(path, @__MODULE__)[:model]``.

    A `Chain` becomes a Flux `Chain`. An `SVAEvampmeans` becomes a dictionary of the original's fields, whose
    values are Flux layers and arrays; its heads are their `Dense` layers, without the functions that follow them.
    Any Flux from 0.8 to 0.14 reads both; `load` reads them back bit for bit.

    Raises
    ------
    InvalidInput
        If `model` is of another kind.
    """
    write_model(path, model.model if isinstance(model, SVAEvampmeans) else model)


# ── Model ──


def zparams(m: SVAEvampmeans, x: ArrayLike) -> tuple[Array, Array]:
    """Mean directions (n, k) and concentrations (n,)."""
    rows, single = _x(m, x)
    mu, kappa = m.backend.call("encode", m.model, rows, convention=ORIGINAL)
    return _back(mu, single), _back(kappa, single)


def samplez(m: SVAEvampmeans, muz: ArrayLike, kappaz: ArrayLike, *, seed: int = 0) -> Array:
    """Sample of vMF(muz, kappaz); `kappaz` is one number or one a row. The same seed gives the same sample."""
    mu, single = _z(m, muz, "muz")
    kappa = _concentrations(kappaz, len(mu), m.backend.dtype)
    return _back(m.backend.call("draw_vmf", mu, kappa, _seed(seed), convention=ORIGINAL), single)


def zfromx(m: SVAEvampmeans, x: ArrayLike, *, seed: int = 0) -> Array:
    """Sample of the posterior of each row."""
    return samplez(m, *zparams(m, x), seed=seed)


def infer(m: SVAEvampmeans, x: ArrayLike, *, seed: int = 0) -> Array:
    """Decode a sample of the posterior of each row."""
    return m.g(zfromx(m, x, seed=seed))


def sampleVamp(m: SVAEvampmeans, n: int, *, seed: int = 0) -> Array:
    """Draw n samples of the prior, (n, k). The same seed gives the same sample in every version of Julia."""
    count = check.integer("n", n, at_least=0)
    z: Array = m.backend.call("draw_prior", m.model, count, _seed(seed), convention=ORIGINAL)
    return z


def _seed(seed: int) -> int:
    return check.integer("seed", seed, at_least=0)


def decomposed_wloss(
    m: SVAEvampmeans, x: ArrayLike, beta: float, d: Callable[[Array, Array], Any], *, seed: int = 0
) -> tuple[float, float]:
    """Reconstruction error (mean over all entries) and discrepancy `d(codes, prior sample)`."""
    rows, _ = _x(m, x)
    z, _ = zparams(m, rows)
    return float(np.mean((rows - m.g(z)) ** 2)), float(d(z, sampleVamp(m, len(z), seed=seed)))


def wloss(
    m: SVAEvampmeans, x: ArrayLike, beta: float, d: Callable[[Array, Array], Any], *, seed: int = 0
) -> float:
    """Loss: reconstruction error + beta·discrepancy."""
    reconstruction, discrepancy = decomposed_wloss(m, x, beta, d, seed=seed)
    return reconstruction + beta * discrepancy


# ── Densities, nats ──


def log_normal(x: ArrayLike, mu: ArrayLike | None = None, *, backend: JuliaBackend | None = None) -> Array:
    """log N(x; mu, I), (n,)."""
    julia = _backend(backend, x, *([] if mu is None else [mu]))
    rows, single = _rows("x", x, "d", julia.dtype)
    centre = np.zeros_like(rows) if mu is None else _rows("mu", mu, rows.shape[1], julia.dtype)[0]
    value = julia.log_likelihood(rows, np.broadcast_to(centre, rows.shape), convention=ORIGINAL)
    return _back(value, single)


def log_pxexpectedz(m: SVAEvampmeans, x: ArrayLike, z: ArrayLike | None = None) -> Array:
    """log p(x | z) at the mean direction of each row, or at z."""
    rows, single = _x(m, x)
    codes = zparams(m, rows)[0] if z is None else _z(m, z)[0]
    return _back(log_normal(rows, m.g(codes), backend=m.backend), single)


def log_pz_from_z(m: SVAEvampmeans, z: ArrayLike) -> Array:
    """log (1/p) Σ_j exp(z·mu_j)."""
    return _each(m, "model_log_prior", z, latent=True, convention=ORIGINAL)


def log_pz(m: SVAEvampmeans, x: ArrayLike) -> Array:
    """`log_pz_from_z` at the mean direction of each row."""
    return log_pz_from_z(m, zparams(m, x)[0])


def pz_from_z(m: SVAEvampmeans, z: ArrayLike) -> Array:
    """exp(log_pz_from_z(m, z))."""
    return np.exp(log_pz_from_z(m, z))


def pz(m: SVAEvampmeans, x: ArrayLike) -> Array:
    """exp(log_pz(m, x))."""
    return np.exp(log_pz(m, x))


def log_px(m: SVAEvampmeans, x: ArrayLike, k: int = 100, *, seed: int = 0) -> Array:
    """Importance-sampled log p(x) from k draws, with the original's broadcast over pairs of draws."""
    rows, single = _x(m, x)
    count = check.integer("k", k, at_least=1)
    mu, kappa = zparams(m, rows)
    draws = samplez(m, np.repeat(mu, count, axis=0), np.repeat(kappa, count), seed=seed)
    cube = draws.reshape(len(mu), count, m.zdim)
    return _back(m.backend.call("model_log_importance", m.model, rows, cube, convention=ORIGINAL), single)


def jacobian_decoder(m: SVAEvampmeans, z: ArrayLike) -> Array:
    """Jacobian of g: (n, d, k), or (d, k) for one code."""
    return _each(m, "jacobian_decoder", z, latent=True, route="loop", convention=ORIGINAL)


def jacobian_encoder(m: SVAEvampmeans, x: ArrayLike) -> Array:
    """Jacobian of the mean direction: (n, k, d), or (k, d) for one sample."""
    return _each(m, "jacobian_encoder", x, route="loop", convention=ORIGINAL)


def log_pz_jacobian_decoder(m: SVAEvampmeans, z: ArrayLike) -> Array:
    """log_pz_from_z(z) − 2 Σ log s(jacobian_decoder(z))."""
    return _each(m, "model_log_prior_jacobian_decoder", z, latent=True, route="loop", convention=ORIGINAL)


def log_pz_jacobian_encoder(m: SVAEvampmeans, x: ArrayLike) -> Array:
    """log_pz(x) + 2 Σ log s(jacobian_encoder(x)), the smallest s being rounding noise."""
    return _each(m, "model_log_prior_jacobian_encoder", x, route="loop", convention=ORIGINAL)


def manifoldz(m: SVAEvampmeans, x: ArrayLike, steps: int = 100, z: ArrayLike | None = None) -> Array:
    """Codes after `steps` ADAM steps on the reconstruction error, from z or from the mean directions."""
    rows, single = _x(m, x)
    start = zparams(m, rows)[0] if z is None else _codes(m, z, rows)
    count = check.integer("steps", steps, at_least=0)
    return _back(m.backend.call("project", m.model, rows, start, steps=count, convention=ORIGINAL)[0], single)


def _codes(m: SVAEvampmeans, z: ArrayLike, rows: Array) -> Array:
    """Codes (n, k), one for each row."""
    codes, _ = _z(m, z)
    if len(codes) != len(rows):
        raise ShapeError(f"`z` must have a code for each of the {len(rows)} rows of `x`; got {len(codes)}.")
    return codes


def jacodeco(m: SVAEvampmeans, x: ArrayLike, z: ArrayLike) -> Array:
    """log N(z; 0, I) + log p(x | z) − 2 Σ log(s + 1e-6), (n,).

    The original's form with two arguments decodes x in place of a code, which fails; it is left out.
    """
    rows, single = _x(m, x)
    return _back(m.backend.call("jacodeco", m.model, rows, _codes(m, z, rows)), single)


def correctedjacodeco(m: SVAEvampmeans, x: ArrayLike, z: ArrayLike | None = None) -> Array:
    """log N(z; 0, I + (JᵀJ)⁻¹) + log N(e) over d−k dimensions − 2 Σ log(s + 1e-6), at z or at `manifoldz`."""
    rows, single = _x(m, x)
    codes = manifoldz(m, rows) if z is None else _codes(m, z, rows)
    density = m.backend.call(
        "log_density_corrected", rows, m.g(codes), codes, jacobian_decoder(m, codes), convention=ORIGINAL
    )
    return _back(density, single)


# ── Sphere, kernels ──


def normalizecolumns(v: ArrayLike, *, backend: JuliaBackend | None = None) -> Array:
    """Rows (the original's columns) divided by √(Σv² + eps)."""
    julia = _backend(backend, v)
    rows, single = _rows("v", v, "k", julia.dtype)
    return _back(julia.normalize(rows, convention=ORIGINAL), single)


def householderrotation(zprime: ArrayLike, mu: ArrayLike, *, backend: JuliaBackend | None = None) -> Array:
    """Reflection that takes e1 to mu, applied to zprime."""
    julia = _backend(backend, zprime, mu)
    z, single = _rows("zprime", zprime, "k", julia.dtype)
    axes = np.broadcast_to(_rows("mu", mu, z.shape[1], julia.dtype)[0], z.shape)
    return _back(julia.householder(z, axes, convention=ORIGINAL), single)


def samplehsuniform(n: int, k: int, *, seed: int = 0, dtype: Any = np.float64) -> Array:
    """Draw n points of the uniform distribution on the sphere in k dimensions, (n, k).

    The original is `samplehsuniform(k, n)`, whose points are columns.
    """
    shape = check.integer("n", n, at_least=0), check.integer("k", k, at_least=1)
    draws = (
        sampling.generator(_seed(seed), "goodness").standard_normal(shape).astype(check.floating("dtype", dtype))
    )
    return draws / np.sqrt(np.sum(draws**2, axis=1, keepdims=True) + np.finfo(draws.dtype).eps)


def pairwisecos(x: ArrayLike, y: ArrayLike | None = None) -> Array:
    """max(0, 1 − x·y) of all pairs of rows, (n, m)."""
    a, _ = _rows("x", x, "k", np.result_type(np.asarray(x), np.float32))
    b = a if y is None else _rows("y", y, a.shape[1], np.result_type(np.asarray(y), np.float32))[0]
    return np.maximum(1 - a @ b.T, 0)


def k_imq(x: ArrayLike, *y_and_c: Any, backend: JuliaBackend | None = None) -> float:
    """k_imq(x, c) within x, with its diagonal over n(n−1); k_imq(x, y, c) between x and y.

    Within a single sample, given as a vector, it is 0.
    """
    if len(y_and_c) not in (1, 2):
        raise InvalidInput(f"k_imq takes (x, c) or (x, y, c); got {1 + len(y_and_c)} arguments.")
    *others, c = y_and_c
    julia = _backend(backend, x, *others)
    a, single = _rows("x", x, "k", julia.dtype)
    if single and not others:
        return 0.0
    b = _rows("y", others[0], a.shape[1], julia.dtype)[0] if others else None
    return float(julia.imq_kernel_mean(a, b, check.real("c", c, above=0), convention=ORIGINAL))


def mmd_imq(x: ArrayLike, y: ArrayLike, c: float, *, backend: JuliaBackend | None = None) -> float:
    """k_imq(x, c) + k_imq(y, c) − 2 k_imq(x, y, c)."""
    julia = _backend(backend, x, y)
    within = k_imq(x, c, backend=julia) + k_imq(y, c, backend=julia)
    return within - 2 * k_imq(x, y, c, backend=julia)


def log_vmf_wo_c(x: ArrayLike, mu: ArrayLike, kappa: ArrayLike) -> Array:
    """κ x·mu, row by row, without the normaliser."""
    dtype = np.result_type(np.asarray(x), np.asarray(mu), np.float32)
    a, single = _rows("x", x, "k", dtype)
    b, _ = _rows("mu", mu, a.shape[1], dtype)
    n = np.broadcast_shapes(a.shape, b.shape)[0]
    return _back(_concentrations(kappa, n, dtype) * np.sum(a * b, axis=-1), single and n == 1)


def log_vmf_c(x: ArrayLike, mu: ArrayLike, kappa: ArrayLike, *, backend: JuliaBackend | None = None) -> Array:
    """κ x·mu + log C_k(κ), row by row (the original returns the last one for matrices)."""
    julia = _backend(backend, x, mu)
    a, single = _rows("x", x, "k", julia.dtype)
    b, _ = _rows("mu", mu, a.shape[1], julia.dtype)
    shape = np.broadcast_shapes(a.shape, b.shape)
    kappas = _concentrations(kappa, shape[0], julia.dtype)
    value = julia.log_vmf(np.broadcast_to(a, shape), np.broadcast_to(b, shape), kappas)
    return _back(value, single and shape[0] == 1)


def vmfentropy(m: int, kappa: ArrayLike, *, backend: JuliaBackend | None = None) -> Array:
    """Entropy of vMF(·, kappa) in m dimensions, (n,), or a number for one kappa."""
    julia = _backend(backend, kappa)
    single = np.ndim(kappa) == 0
    return _back(julia.vmf_entropy(check.array("kappa", np.ravel(kappa), ("n",), dtype=julia.dtype), m), single)


def huentropy(m: int, *, backend: JuliaBackend | None = None) -> float:
    """Entropy of the uniform distribution on the sphere in m dimensions."""
    julia = backend or _shared(np.float64)
    return float(julia.call("uniform_sphere_entropy", check.integer("m", m, at_least=2)))


def kldiv(m: SVAEvampmeans, kappa: ArrayLike) -> Array:
    """KL of vMF(·, kappa) from the uniform distribution, (n,), or a number for one kappa; in the model's type."""
    return m.backend.dtype.type(m.hue) - vmfentropy(m.zdim, kappa, backend=m.backend)


# ── Goodness of fit of the prior, as the experiment's script has it ──


def get_γ(x: ArrayLike, y: ArrayLike, *, backend: JuliaBackend | None = None) -> float:
    """Kernel width of 10^(−10:0.05:2) at which the criterion of Sutherland (2017) is largest."""
    julia = _backend(backend, x, y)
    a, _ = _rows("x", x, "k", julia.dtype)
    return float(julia.call("imq_width", a, _rows("y", y, a.shape[1], julia.dtype)[0], convention=ORIGINAL))


def null_distr_distances(m: SVAEvampmeans, k: int = 500, *, seed: int = 0) -> tuple[Array, float]:
    """Return (null, γ): 100 sorted distances between pairs of prior samples of k, and their kernel's width."""
    count, first = check.integer("k", k, at_least=4), 1000 * _seed(seed)
    width = get_γ(sampleVamp(m, 500, seed=first), sampleVamp(m, 500, seed=first + 1), backend=m.backend)
    distances = [
        m.backend.call(
            "mmd",
            sampleVamp(m, count, seed=first + 2 + 2 * i),
            sampleVamp(m, count, seed=first + 3 + 2 * i),
            width=width,
            convention=ORIGINAL,
        )
        for i in range(100)
    ]
    return np.sort(np.asarray(distances, dtype=np.float32)), width


def mmdpval(null_dst: ArrayLike, x: float) -> float:
    """Rank of x in the sorted null sample over its length, 0.01 … 1.01 for a hundred."""
    null = check.vector("null_dst", null_dst)
    return float(np.searchsorted(null, x) + 1) / len(null)
