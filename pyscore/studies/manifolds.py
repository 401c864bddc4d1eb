"""Manifolds whose noisy density is known: f(z) + σε with z ~ p(z), in closed form or as one integral.

`pyscore.studies.exact_density` compares scores with them. Each has an embedding with its derivatives, a prior of
its codes, samples, the true log p(x) = log ∫ N(x; f(z), σ²I) p(z) dz, and the nearest point of the manifold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy.spatial import cKDTree

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array, Latent
from pyscore.errors import InvalidInput
from pyscore.reference import EPS, LOG_TWO_PI, Projection, sampling
from pyscore.reference.model import SVAE
from pyscore.reference.network import KAPPA_MAX, Dense

__all__ = [
    "Ellipsoid",
    "Linear",
    "Manifold",
    "Parabola",
    "SwissRoll",
    "Torus",
    "TrueDensity",
    "circle",
    "ellipse",
    "log_integral",
    "sphere",
]

BLOCK = 2_000_000
"""Largest number of values of an integrand in memory at a time."""


class TrueDensity(NamedTuple):
    """log p(x) with a bound on its error."""

    value: Array
    """(n,) nats."""
    error: float
    """Largest absolute error of `value`: change in the last halving of the step, plus rounding."""


def log_integral(
    log_integrand: Callable[[Array, Array], Array],
    x: Array,
    low: float,
    high: float,
    spacing: float,
    *,
    tolerance: float = 1e-11,
    most: int = 2**20,
) -> TrueDensity:
    """log ∫ exp(g(x, t)) dt over [low, high] for every row x, by the midpoint rule with halved steps.

    For an analytic integrand that is periodic, or vanishes at both ends, the rule converges geometrically. The
    change at the last halving then bounds the error of the second last step.

    Parameters
    ----------
    log_integrand : function of (n, d) rows and (m,) nodes that returns (n, m) logarithms
    x : (n, d) array
    low, high : float
    spacing : float
        First step. It must not be wider than the narrowest peak of the integrand, because two rules that both
        miss the peak would agree.
    tolerance : float
        Halving ends when the logarithm changes by no more than this.
    most : int
        Most nodes.

    Raises
    ------
    InvalidInput
        If that many nodes do not reach the tolerance (at least that of rounding).
    """
    count = int(np.ceil((high - low) / spacing))
    before, change = _midpoint(log_integrand, x, low, high, count), np.inf
    while (count := 2 * count) <= most:
        value = _midpoint(log_integrand, x, low, high, count)
        change = float(np.max(np.abs(value - before), initial=0.0))
        rounding = 8 * EPS * float(np.max(np.abs(value), initial=1.0))
        if change <= tolerance + rounding:
            return TrueDensity(value, change + rounding)
        before = value
    raise InvalidInput(
        f"the integral still changes by {change:.1e} nats at {count // 2} nodes: the noise is too narrow for it. "
        "Take a larger `sigma`."
    )


def _midpoint(
    log_integrand: Callable[[Array, Array], Array], x: Array, low: float, high: float, count: int
) -> Array:
    """Logarithm (n,) of the midpoint rule with `count` nodes."""
    step = (high - low) / count
    nodes = low + step * (np.arange(count) + 0.5)
    rows = max(1, BLOCK // count)
    value = np.empty(len(x))
    for start in range(0, len(x), rows):
        g = log_integrand(x[start : start + rows], nodes)
        value[start : start + rows] = special.logsumexp(g, axis=1) + np.log(step)
    return value


def _log_gauss(square: Array, dims: int, sigma2: float) -> Array:
    """log N(0, σ²I) in `dims` dimensions at a squared distance from the mean."""
    return -0.5 * square / sigma2 - 0.5 * dims * np.log(2 * np.pi * sigma2)


class Manifold(ABC):
    """An embedding f: Z → R^d with a density p(z), z in R^k or on the sphere in R^k."""

    latent: Latent = "euclidean"
    name: str
    input_dim: int
    latent_dim: int

    @property
    def normal_dim(self) -> int:
        """Number of directions normal to the manifold."""
        return reference.normal_dimensions(self.input_dim, self.latent_dim, self.latent)

    # ── the embedding and its prior ──

    @abstractmethod
    def decode(self, z: Array) -> Array:
        """f(z): (n, k) → (n, d)."""

    @abstractmethod
    def decoder_jacobian(self, z: Array) -> Array:
        """∂f/∂z: (n, k) → (n, d, k)."""

    @abstractmethod
    def decoder_bend(self, z: Array, weights: Array) -> Array:
        """Hessians of Σ_m weights_m f_m: (n, k), (n, d) → (n, k, k)."""

    def prior(self, z: Array) -> tuple[Array, Array, Array]:
        """log p(z) (n,), gradient (n, k) and Hessian (n, k, k): N(0, I) unless a manifold says otherwise."""
        k = z.shape[1]
        log_pz = -0.5 * np.sum(z * z, axis=1) - 0.5 * k * LOG_TWO_PI
        return log_pz, -z, np.broadcast_to(-np.eye(k), (len(z), k, k))

    def draw_codes(self, n: int, rng: np.random.Generator) -> Array:
        """(n, k) codes of the prior."""
        return rng.standard_normal((n, self.latent_dim))

    # ── data ──

    def sample(self, n: int, sigma: float, seed: int = 0) -> Array:
        """(n, d) rows f(z) + σε with z ~ p(z), ε ~ N(0, I)."""
        check.integer("n", n, at_least=0)
        sigma = check.real("sigma", sigma, at_least=0.0)
        rng = sampling.generator(seed, "manifold")
        points = self.decode(self.draw_codes(n, rng))
        return points + sigma * rng.standard_normal(points.shape)

    # ── what is known of the data ──

    def log_density(self, x: ArrayLike, sigma: float) -> TrueDensity:
        """log p(x) = log ∫ N(x; f(z), σ²I) p(z) dz, in nats.

        Parameters
        ----------
        x : (n, d) array
        sigma : float, deviation of the noise, above 0

        Raises
        ------
        InvalidInput
            If the integral does not converge: σ is too small for it.
        """
        x = check.matrix("x", x, self.input_dim)
        check.finite("x", x)
        return self._log_density(x, check.real("sigma", sigma, above=0.0))

    @abstractmethod
    def _log_density(self, x: Array, sigma: float) -> TrueDensity: ...

    def expected_curvature(self) -> float:
        """E[K], the Gaussian curvature of the surface averaged over p(z); 0 for curves and rolled-up planes."""
        return 0.0

    def box(self) -> tuple[Array, Array]:
        """Lowest and highest coordinates (d,) of the manifold, except for a mass below 1e-8 (6 deviations)."""
        grids = np.meshgrid(*[np.linspace(-6, 6, 401)] * self.latent_dim)
        points = self.decode(np.column_stack([g.ravel() for g in grids]))
        return points.min(axis=0), points.max(axis=0)

    @abstractmethod
    def start(self, x: Array) -> Array:
        """Codes (n, k) near those of the nearest points: (n, d) → (n, k)."""

    def nearest(self, x: ArrayLike) -> Projection:
        """Project rows (n, d) onto the manifold: Newton steps (`reference.project`) from `start`."""
        x = check.matrix("x", x, self.input_dim)
        return reference.project(
            x, self.start(x), self.decode, self.decoder_jacobian, self.decoder_bend, latent=self.latent
        )


def _nearest_node(x: Array, points: Array) -> Array:
    """Index (n,) of the nearest of some points (m, d)."""
    return np.asarray(cKDTree(points).query(x)[1])


# ── Gaussian codes ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class Linear(Manifold):
    """f(z) = W z + b with z ~ N(0, I): probabilistic PCA, p(x) = N(b, WWᵀ + σ²I)."""

    weight: Array
    """(d, k), of full rank."""
    bias: Array
    """(d,)."""
    name: str = "linear"

    @property
    def input_dim(self) -> int:  # type: ignore[override]
        """Number of rows of W."""
        return int(self.weight.shape[0])

    @property
    def latent_dim(self) -> int:  # type: ignore[override]
        """Number of columns of W."""
        return int(self.weight.shape[1])

    def decode(self, z: Array) -> Array:
        """W z + b."""
        return z @ self.weight.T + self.bias

    def decoder_jacobian(self, z: Array) -> Array:
        """W, for each row."""
        return np.broadcast_to(self.weight, (len(z), *self.weight.shape))

    def decoder_bend(self, z: Array, weights: Array) -> Array:
        """Zero: f is flat."""
        return np.zeros((len(z), z.shape[1], z.shape[1]))

    def start(self, x: Array) -> Array:
        """W⁺(x − b), which is the projection."""
        return (x - self.bias) @ np.linalg.pinv(self.weight).T

    def _log_density(self, x: Array, sigma: float) -> TrueDensity:
        d = self.input_dim
        values, vectors = np.linalg.eigh(self.weight @ self.weight.T)
        variance = np.maximum(values, 0.0) + sigma**2
        square = np.sum(((x - self.bias) @ vectors) ** 2 / variance, axis=1)
        value = -0.5 * (square + np.sum(np.log(variance)) + d * LOG_TWO_PI)
        scale = float(np.max(square, initial=1.0)) * max(1.0, values[-1] / variance[0])
        return TrueDensity(value, 8 * d * EPS * scale)


@dataclass(frozen=True)
class Parabola(Manifold):
    """The paper's toy problem (figure 1): f(t) = (t², t), t ~ N(0.5, 0.15) in the code z = (t − 0.5)/√0.15."""

    mean: float = 0.5
    variance: float = 0.15
    name: str = "parabola"
    input_dim: int = 2
    latent_dim: int = 1

    def _t(self, z: Array) -> Array:
        return self.mean + np.sqrt(self.variance) * z[:, 0]

    def decode(self, z: Array) -> Array:
        """(t², t)."""
        t = self._t(z)
        return np.column_stack([t * t, t])

    def decoder_jacobian(self, z: Array) -> Array:
        """√0.15·(2t, 1)."""
        t = self._t(z)
        return np.sqrt(self.variance) * np.stack([2 * t, np.ones_like(t)], axis=1)[:, :, None]

    def decoder_bend(self, z: Array, weights: Array) -> Array:
        """0.15·2·weights_1."""
        return 2 * self.variance * weights[:, :1, None]

    def start(self, x: Array) -> Array:
        """Nearest of 2,001 points, from −15 to 15 deviations."""
        nodes = np.linspace(-15, 15, 2001)[:, None]
        return nodes[_nearest_node(x, self.decode(nodes))]

    def _log_density(self, x: Array, sigma: float) -> TrueDensity:
        def log_integrand(rows: Array, nodes: Array) -> Array:
            points = self.decode(nodes[:, None])
            square = (rows[:, :1] - points[:, 0]) ** 2 + (rows[:, 1:] - points[:, 1]) ** 2
            return _log_gauss(square, 2, sigma**2) + self.prior(nodes[:, None])[0]

        fastest = np.sqrt(self.variance * (1 + 4 * (abs(self.mean) + 12 * np.sqrt(self.variance)) ** 2))
        return log_integral(log_integrand, x, -12.0, 12.0, min(0.25, sigma / fastest))


@dataclass(frozen=True)
class SwissRoll(Manifold):
    """A roll f = (t cos t, h, t sin t)/3π with angle t ~ N(3π, (π/2)²) and height 3π·h', h' ~ N(0, 0.3²).

    Codes are two standard normal variables from which t and h are computed. Unlike the uniform roll, its density
    is smooth.
    """

    turn: float = 3 * np.pi
    spread: float = 0.5 * np.pi
    height: float = 0.3
    name: str = "Swiss roll"
    input_dim: int = 3
    latent_dim: int = 2

    def _curve(self, u: Array) -> tuple[Array, Array, Array]:
        """Spiral (…, 2) at codes u, with its first two derivatives by u."""
        t = self.turn + self.spread * u
        ray = np.stack([np.cos(t), np.sin(t)], axis=-1)
        turned = np.stack([-ray[..., 1], ray[..., 0]], axis=-1)
        t = t[..., None]
        first = ray + t * turned
        second = 2 * turned - t * ray
        return t * ray / self.turn, first * (self.spread / self.turn), second * (self.spread**2 / self.turn)

    def decode(self, z: Array) -> Array:
        """(spiral_1, height·z_2, spiral_2)."""
        p = self._curve(z[:, 0])[0]
        return np.column_stack([p[:, 0], self.height * z[:, 1], p[:, 1]])

    def decoder_jacobian(self, z: Array) -> Array:
        """Columns: the spiral's derivative, and (0, height, 0)."""
        j = np.zeros((len(z), 3, 2))
        j[:, ::2, 0] = self._curve(z[:, 0])[1]
        j[:, 1, 1] = self.height
        return j

    def decoder_bend(self, z: Array, weights: Array) -> Array:
        """Hessians of the spiral; the other directions are flat."""
        bend = np.zeros((len(z), 2, 2))
        bend[:, 0, 0] = np.sum(self._curve(z[:, 0])[2] * weights[:, ::2], axis=1)
        return bend

    def start(self, x: Array) -> Array:
        """Nearest of 4,001 points of the spiral, from −6 to 10 deviations; the height is linear."""
        nodes = np.linspace(-6, 10, 4001)
        index = _nearest_node(x[:, ::2], self._curve(nodes)[0])
        return np.column_stack([nodes[index], x[:, 1] / self.height])

    def _log_density(self, x: Array, sigma: float) -> TrueDensity:
        def log_integrand(rows: Array, nodes: Array) -> Array:
            p = self._curve(nodes)[0]
            square = (rows[:, :1] - p[:, 0]) ** 2 + (rows[:, 2:] - p[:, 1]) ** 2
            return _log_gauss(square, 2, sigma**2) + self.prior(nodes[:, None])[0]

        fastest = float(np.linalg.norm(self._curve(np.array([12.0]))[1]))
        spiral = log_integral(log_integrand, x, -12.0, 12.0, min(0.05, sigma / fastest))
        across = _log_gauss(x[:, 1] ** 2, 1, self.height**2 + sigma**2)
        return TrueDensity(spiral.value + across, spiral.error)


@dataclass(frozen=True)
class Torus(Manifold):
    """A ring of radius 1, a tube of radius 0.4; von Mises angles, κ = 1 around the ring and 2 around the tube."""

    ring: float = 1.0
    tube: float = 0.4
    kappa: tuple[float, float] = (1.0, 2.0)
    name: str = "torus"
    input_dim: int = 3
    latent_dim: int = 2

    def decode(self, z: Array) -> Array:
        """(ρ cos θ, ρ sin θ, r sin φ) with ρ = R + r cos φ."""
        theta, phi = z.T
        rho = self.ring + self.tube * np.cos(phi)
        return np.column_stack([rho * np.cos(theta), rho * np.sin(theta), self.tube * np.sin(phi)])

    def decoder_jacobian(self, z: Array) -> Array:
        """Columns: by θ and by φ."""
        (c, cp), (s, sp) = np.cos(z).T, np.sin(z).T
        rho, r = self.ring + self.tube * cp, self.tube
        by_theta = np.column_stack([-rho * s, rho * c, np.zeros_like(c)])
        by_phi = np.column_stack([-r * sp * c, -r * sp * s, r * cp])
        return np.stack([by_theta, by_phi], axis=2)

    def decoder_bend(self, z: Array, weights: Array) -> Array:
        """Σ weights·∂²f."""
        (c, cp), (s, sp) = np.cos(z).T, np.sin(z).T
        outward = weights[:, 0] * c + weights[:, 1] * s
        around = weights[:, 1] * c - weights[:, 0] * s
        bend = np.empty((len(z), 2, 2))
        bend[:, 0, 0] = -(self.ring + self.tube * cp) * outward
        bend[:, 0, 1] = bend[:, 1, 0] = -self.tube * sp * around
        bend[:, 1, 1] = -self.tube * (cp * outward + sp * weights[:, 2])
        return bend

    def prior(self, z: Array) -> tuple[Array, Array, Array]:
        """Two von Mises densities, κ cos(angle) + log C_2(κ)."""
        kappa = np.array(self.kappa)
        log_pz = np.cos(z) @ kappa + np.sum(reference.log_vmf_normaliser(kappa, 2))
        hessian = -(kappa * np.cos(z))[:, :, None] * np.eye(2)
        return log_pz, -kappa * np.sin(z), hessian

    def expected_curvature(self) -> float:
        """E[cos φ / (r (R + r cos φ))]."""
        phi = np.linspace(-np.pi, np.pi, 256, endpoint=False)  # a periodic integrand: exact to rounding
        density = np.exp(self.kappa[1] * np.cos(phi))
        curvature = np.cos(phi) / (self.tube * (self.ring + self.tube * np.cos(phi)))
        return float(np.sum(density * curvature) / np.sum(density))

    def box(self) -> tuple[Array, Array]:
        """All of the torus."""
        high = np.array([self.ring + self.tube] * 2 + [self.tube])
        return -high, high

    def draw_codes(self, n: int, rng: np.random.Generator) -> Array:
        """Two angles, each von Mises."""
        return np.column_stack([rng.vonmises(0.0, kappa, n) for kappa in self.kappa])

    def start(self, x: Array) -> Array:
        """The projection in closed form: angle around the axis, then around the ring."""
        distance = np.hypot(x[:, 0], x[:, 1]) - self.ring
        return np.column_stack([np.arctan2(x[:, 1], x[:, 0]), np.arctan2(x[:, 2], distance)])

    def _log_density(self, x: Array, sigma: float) -> TrueDensity:
        first, second = self.kappa
        constant = float(np.sum(reference.log_vmf_normaliser(np.array(self.kappa), 2)) + LOG_TWO_PI)

        def log_integrand(rows: Array, nodes: Array) -> Array:
            """The integral over θ is a Bessel function: ∮ exp(a cos θ + b sin θ) dθ = 2π I_0(√(a²+b²))."""
            rho, up = self.ring + self.tube * np.cos(nodes), self.tube * np.sin(nodes)
            a = first + rho * rows[:, :1] / sigma**2
            concentration = np.hypot(a, rho * rows[:, 1:2] / sigma**2)
            radius = np.hypot(rows[:, :1], rows[:, 1:2])
            # I_0 grows like exp(concentration), and this nearly cancels ρ·radius/σ².
            square = (radius - rho) ** 2 + (rows[:, 2:] - up) ** 2
            rest = _difference(concentration, rho * radius / sigma**2, first * (a + rho * rows[:, :1] / sigma**2))
            return (
                _log_gauss(square, 3, sigma**2)
                + np.log(special.i0e(concentration)) + rest + second * np.cos(nodes) + constant
            )  # fmt: skip

        return log_integral(log_integrand, x, -np.pi, np.pi, min(0.1, sigma / self.tube))


def _difference(larger: Array, smaller: Array, squares: Array) -> Array:
    """larger − smaller, from the difference of their squares: no cancellation."""
    return squares / (larger + smaller)


# ── codes on the sphere ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class Ellipsoid(Manifold):
    """f(z) = W z for z on the sphere in R^k, p(z) = Σ_j vMF(z; mu_j, kappa_j)/p.

    p(x) is closed form where WᵀW = r²I (circle, sphere), and one integral where k = 2.
    """

    weight: Array
    """(d, k), of full rank."""
    mu: Array
    """(p, k), rows of unit norm."""
    kappa: Array
    """(p,), below 100 as in the model."""
    name: str = "ellipsoid"
    latent: Latent = "sphere"

    @property
    def input_dim(self) -> int:  # type: ignore[override]
        """Number of rows of W."""
        return int(self.weight.shape[0])

    @property
    def latent_dim(self) -> int:  # type: ignore[override]
        """Number of columns of W."""
        return int(self.weight.shape[1])

    @property
    def radius(self) -> float | None:
        """R where WᵀW = r²I, else None."""
        s = np.linalg.svd(self.weight, compute_uv=False)
        return float(s[0]) if s[0] - s[-1] <= 8 * EPS * s[0] else None

    def decode(self, z: Array) -> Array:
        """W z."""
        return z @ self.weight.T

    def decoder_jacobian(self, z: Array) -> Array:
        """W, the ambient Jacobian."""
        return np.broadcast_to(self.weight, (len(z), *self.weight.shape))

    def decoder_bend(self, z: Array, weights: Array) -> Array:
        """Zero: f is linear in R^k, and only the sphere of codes is curved."""
        return np.zeros((len(z), z.shape[1], z.shape[1]))

    def expected_curvature(self) -> float:
        """1/r² on a sphere in R³, 0 on a curve.

        Raises
        ------
        InvalidInput
            For anything else.
        """
        if self.latent_dim == 2:
            return 0.0
        if self.radius is None or self.latent_dim != 3 or self.input_dim != 3:
            raise InvalidInput("the mean curvature is known here for curves and for spheres in R³ only.")
        return 1 / self.radius**2

    def box(self) -> tuple[Array, Array]:
        """All of the ellipsoid: |x_i| is at most the norm of the row W_i."""
        high = np.linalg.norm(self.weight, axis=1)
        return -high, high

    def draw_codes(self, n: int, rng: np.random.Generator) -> Array:
        """Draw a component uniformly, then a code from its von Mises-Fisher distribution."""
        chosen = rng.integers(len(self.mu), size=n)
        draws = sampling.draw_vmf(self.kappa[chosen], self.latent_dim, rng)
        return reference.sample_vmf(self.mu[chosen], self.kappa[chosen], *draws)

    def start(self, x: Array) -> Array:
        """W⁺x normalised, exact where WᵀW = r²I; else the nearest of 720 points of the ellipse (k = 2)."""
        if self.radius is not None or self.latent_dim != 2:
            return reference.normalize(x @ np.linalg.pinv(self.weight).T)
        angle = np.linspace(-np.pi, np.pi, 720, endpoint=False)
        nodes = np.column_stack([np.cos(angle), np.sin(angle)])
        return nodes[_nearest_node(x, self.decode(nodes))]

    def _log_density(self, x: Array, sigma: float) -> TrueDensity:
        if self.radius is not None:
            return self._closed_form(x, sigma, self.radius)
        if self.latent_dim != 2:
            raise InvalidInput(
                f"the density of an ellipsoid with unequal axes is known here for k = 2 only; got k = "
                f"{self.latent_dim}. Take equal axes."
            )

        def log_integrand(rows: Array, nodes: Array) -> Array:
            z = np.column_stack([np.cos(nodes), np.sin(nodes)])
            points = self.decode(z)
            square = np.sum((rows[:, None, :] - points) ** 2, axis=2)
            return _log_gauss(square, self.input_dim, sigma**2) + reference.log_prior(z, self.mu, self.kappa)

        longest = float(np.linalg.norm(self.weight, 2))
        return log_integral(log_integrand, x, -np.pi, np.pi, min(0.1, sigma / longest))

    def _closed_form(self, x: Array, sigma: float, radius: float) -> TrueDensity:
        """Σ_j C(κ_j) ∫ exp(z·(κ_j mu_j + Wᵀx/σ²)) dz = Σ_j C(κ_j)/C(‖κ_j mu_j + Wᵀx/σ²‖)."""
        pull = x @ self.weight / sigma**2
        resultant = np.linalg.norm(pull[:, None, :] + self.kappa[:, None] * self.mu, axis=2)
        ratio = reference.log_vmf_normaliser(self.kappa, self.latent_dim) - reference.log_vmf_normaliser(
            resultant, self.latent_dim
        )
        square = np.sum(x * x, axis=1) + radius**2
        value = (
            special.logsumexp(ratio, axis=1) - np.log(len(self.mu)) + _log_gauss(square, self.input_dim, sigma**2)
        )
        return TrueDensity(value, 8 * EPS * float(np.max(square, initial=1.0)) / sigma**2)

    def svae(self) -> SVAE:
        """Return the manifold as a model with identity activations: decoder W, components mu_j and kappa_j.

        Its encoder is normalize(W⁺x), which is the projection where WᵀW = r²I.

        Raises
        ------
        InvalidInput
            If its concentrations, a logistic function of W⁺x, can't be those of all components.
        """
        k = self.latent_dim
        logit = np.log(self.kappa / (KAPPA_MAX - self.kappa))
        design = np.column_stack([self.mu, np.ones(len(self.mu))])
        solution = np.linalg.lstsq(design, logit, rcond=None)[0]
        if not np.allclose(design @ solution, logit, rtol=0, atol=1e-10):
            raise InvalidInput(
                f"`mu` must have affinely independent rows, at most {k + 1}, for a model with these `kappa`."
            )
        eye, zero = np.eye(k), np.zeros(k)
        same = Dense(eye, zero)
        return SVAE(
            encoder=(Dense(np.linalg.pinv(self.weight), zero), same, same),
            mu=same,
            kappa=Dense(solution[None, :k], solution[k:]),
            decoder=(same, same, same, Dense(self.weight, np.zeros(self.input_dim))),
            pseudo_inputs=self.decode(self.mu),
            activation="identity",
        )

    def prior(self, z: Array) -> tuple[Array, Array, Array]:
        """Log-density of the mixture with its derivatives in R^k."""
        return reference.log_prior_derivatives(z, self.mu, self.kappa)


def _components(angles: Sequence[float], k: int) -> Array:
    """Unit vectors at angles of the first two coordinates, the second also leaning into the third."""
    mu = np.zeros((len(angles), k))
    mu[:, 0], mu[:, 1] = np.cos(angles), np.sin(angles)
    if k > 2:
        mu[1, 2] = 1.0
    return reference.normalize(mu)


def circle(radius: float = 2.0, input_dim: int = 2) -> Ellipsoid:
    """A circle in the first two of `input_dim` coordinates, with two vMF components (κ = 4 and 1)."""
    weight = radius * np.eye(check.integer("input_dim", input_dim, at_least=2), 2)
    return Ellipsoid(weight, _components([0.3, 2.4], 2), np.array([4.0, 1.0]), "circle")


def ellipse(axes: tuple[float, float] = (2.0, 1.0)) -> Ellipsoid:
    """An ellipse with two vMF components (κ = 4 and 1); unlike a circle's, its length element varies."""
    return Ellipsoid(np.diag(axes), _components([0.3, 2.4], 2), np.array([4.0, 1.0]), "ellipse")


def sphere(radius: float = 1.5) -> Ellipsoid:
    """A sphere in R³ with two vMF components (κ = 4 and 1)."""
    return Ellipsoid(radius * np.eye(3), _components([0.3, 2.4], 3), np.array([4.0, 1.0]), "sphere")
